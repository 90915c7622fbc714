// Command disk reads and writes the first sector of its block device, data.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	f, err := os.OpenFile("/dev/solo5/data", os.O_RDWR, 0)
	if err != nil {
		fail(err)
	}
	sector := make([]byte, 512)
	if _, err := f.ReadAt(sector, 0); err != nil {
		fail(err)
	}
	fmt.Println("had", strings.TrimRight(string(sector), "\x00"))
	if len(os.Args) > 1 {
		clear(sector)
		copy(sector, os.Args[1])
		if _, err := f.WriteAt(sector, 0); err != nil {
			fail(err)
		}
		fmt.Println("wrote", os.Args[1])
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "disk:", err)
	os.Exit(1)
}
