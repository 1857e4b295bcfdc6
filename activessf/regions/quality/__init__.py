"""Quality control of stage 1: pictures of what it kept and rejected, and the page that shows them."""
