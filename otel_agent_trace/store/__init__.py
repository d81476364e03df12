"""Write a local store on disk."""
