"""What is wrong with the files of a base, found before any of its networks is loaded, and told by file or field."""
