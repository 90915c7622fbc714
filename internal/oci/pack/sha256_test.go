package pack

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// TestSum compares with package crypto/sha256: every length around the block's, and
// long texts.
func TestSum(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	for n := range 300 {
		if n > 260 {
			n *= 1000 + n
		}
		data := make([]byte, n)
		random.Read(data)
		if got, want := sum256(data), sha256.Sum256(data); got != want {
			t.Fatalf("of %d bytes: %x, want %x", n, got, want)
		}
	}
}
