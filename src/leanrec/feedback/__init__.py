"""What people do with the lists they were served: kept on disk, and turned into events again."""
