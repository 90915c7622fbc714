package tender

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"gocat/internal/plan"
)

// sealedWith is an executable with a note.
func sealedWith(t testing.TB, note []byte) []byte {
	t.Helper()
	e := plan.Executable{Entry: 0x10000, Parts: []plan.Part{{Addr: 0x10000, Prot: plan.Read, Data: [][]byte{{1}}}}, Note: note}
	var b bytes.Buffer
	if err := e.Write(func(pieces [][]byte) error {
		for _, p := range pieces {
			b.Write(p)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadSealed(t *testing.T) {
	for _, pad := range []string{"", "x", "xx", "xxx"} {
		facts, err := ReadSealed(bytes.NewReader(sealedWith(t, []byte("memory \"4 MB\"\narguments \"a\\nb"+pad+"\"\n"))))
		if err != nil || len(facts) != 2 || facts[0] != (Fact{"memory", "4 MB"}) || facts[1] != (Fact{"arguments", "a\nb" + pad}) {
			t.Errorf("%q, %v", facts, err)
		}
	}
	for _, none := range [][]byte{nil, []byte("\x7fELF"), sealedWith(t, nil)} {
		if _, err := ReadSealed(bytes.NewReader(none)); !errors.Is(err, ErrNotSealed) {
			t.Errorf("%d bytes: %v", len(none), err)
		}
	}
	for _, bad := range []string{"memory", "memory 4\n", " \"x\"\n", "memory \"4\n"} {
		if _, err := ReadSealed(bytes.NewReader(sealedWith(t, []byte(bad)))); err == nil || !strings.HasPrefix(err.Error(), "sealed guest: its description has the line ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzReadSealed reads any file: never a panic, and no text that could control a
// terminal in the names of facts.
func FuzzReadSealed(f *testing.F) {
	good := sealedWith(f, []byte("memory \"4 MB\"\n"))
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		facts, err := ReadSealed(bytes.NewReader(b))
		for _, fact := range facts {
			if err != nil || fact.Name == "" || strings.ContainsRune(fact.Name, 0x1b) {
				t.Errorf("%q, %v", fact, err)
			}
		}
	})
}
