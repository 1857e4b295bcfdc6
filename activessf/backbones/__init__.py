"""Encoders that timm does not have, in the form of timm's."""
