"""What benchmarks measure, a file a kind of score."""
