"""What the bench's cases stand on: processes pinned and their CPU, peers, Keyhole, load, the comparison of the books."""
