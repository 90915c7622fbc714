package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A connection that comes after a guest's end, however it ended, is the next guest's, also
// if the network of the one before has not seen the end yet.
func TestPassedAfterEnd(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		port, f := listener(t, "tcp")
		sealed := filepath.Join(t.TempDir(), "sealed")
		if r := gocat(t, "seal", "-o", sealed, "--warm-at=ready", "--mem=64", "--net=service=user", fmt.Sprintf("--publish=%d:80", port), networkGuest(t, backend)); r.status != 0 {
			t.Fatalf("%+v", r)
		}
		waiting := dialled(t, port)
		for range 10 {
			guest, stderr := activated(t, []*os.File{f}, "", sealed)
			if err := answer(waiting); err != nil {
				t.Fatal(err, stderr)
			}
			guest.Process.Kill()
			guest.Wait()
			waiting = dialled(t, port)
		}
		waiting.Close()
	})
}
