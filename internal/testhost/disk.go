package testhost

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Disk makes a file of size random bytes and returns its path.
func Disk(t testing.TB, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, Random(size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Random returns n random bytes, the same at every call.
func Random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
