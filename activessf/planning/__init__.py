"""What a sweep would cost: its pieces, each made once, and how long it takes on several devices."""
