"""Pictures made by trained generators, written so that they can always be told from real ones."""
