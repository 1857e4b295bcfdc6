"""Published weights in, encoders out: layouts of files, what of them fits a network, export in timm's layout."""
