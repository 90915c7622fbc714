package main

// entry is the program's entry point: see entry_amd64.s.
//
//lint:ignore U1000 the linker calls it, when told to with -E
func entry()
