"""What computes: devices, downloads, progress, threads, processes, clusters."""
