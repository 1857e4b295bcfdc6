"""Encoders that timm does not have, in the manner of timm's networks."""
