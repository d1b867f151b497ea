"""`make bench`: what a request and a capture cost, beside the bare ceiling in the same run."""
