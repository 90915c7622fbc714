package main

import (
	"fmt"
	"os"

	"gocat/internal/tender"
)

func main() {
	inv, err := tender.Parse(os.Args[2:], tender.Table())
	if err == nil {
		var g *tender.Guest
		if g, err = inv.Load(); err == nil {
			_, err = g.Run()
		}
	}
	fmt.Fprintln(os.Stderr, "gocat:", err)
	os.Exit(1)
}
