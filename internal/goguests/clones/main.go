// Command clones is a unikernel that says what it is after its snapshot: it waits for
// a line on its device, answers with what must differ between clones, and ends.
//
// Arguments: asked has it ask for the snapshot itself; heap=MB has it use so much
// memory before; tick has it print a line at each of three ticks.
package main

import (
	"bufio"
	crand "crypto/rand"
	"fmt"
	"hash/maphash"
	"math/rand"
	randv2 "math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"gocat/guest/solo5"
)

var heap [][]byte

func main() {
	for _, arg := range os.Args[1:] {
		if mb, ok := strings.CutPrefix(arg, "heap="); ok {
			n, _ := strconv.Atoi(mb)
			for range n {
				b := make([]byte, 1<<20)
				for i := 0; i < len(b); i += 64 {
					b[i] = byte(i>>6) | 1
				}
				heap = append(heap, b)
			}
		}
	}
	// State that must not be the clones' own.
	rand.Int63()
	randv2.Uint64()
	crand.Text()
	began, began1 := time.Now(), solo5.Monotonic()
	fmt.Println("started")
	for _, arg := range os.Args[1:] {
		switch arg {
		case "asked":
			clone, err := solo5.Snapshot()
			fmt.Println("clone", clone, err)
		case "tick":
			t := time.NewTicker(50 * time.Millisecond)
			for range 3 {
				<-t.C
				fmt.Println("tick")
			}
		}
	}
	f, err := os.Open("/dev/solo5/in")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	line, _ := bufio.NewReader(f).ReadString('\n')
	fmt.Printf("line %q\n", line)
	fmt.Println("rand", rand.Int63(), randv2.Uint64(), crand.Text(), maphash.MakeSeed(), order())
	sum := 0
	for _, b := range heap {
		for i := 0; i < len(b); i += 64 {
			if b[i] != byte(i>>6)|1 {
				fmt.Println("heap is damaged")
				os.Exit(1)
			}
			sum++
		}
	}
	fmt.Println("heap", sum)
	fmt.Println("monotonic", solo5.Monotonic() >= began1, time.Since(began) >= 0, "since", time.Since(began).Round(time.Hour), "wall", time.Now().Unix())
	start := time.Now()
	time.Sleep(20 * time.Millisecond)
	fmt.Println("slept", time.Since(start) >= 20*time.Millisecond && time.Since(start) < 20*time.Second)
	os.Exit(7)
}

// order is the order of a new map's keys.
func order() string {
	m := map[int]bool{}
	for i := range 16 {
		m[i] = true
	}
	var b strings.Builder
	for k := range m {
		fmt.Fprintf(&b, "%x", k)
	}
	return b.String()
}
