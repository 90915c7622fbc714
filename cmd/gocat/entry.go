package main

// entry is the program's entry point: see entry_amd64.s.
func entry()
