package testhost

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// Defines checks that an assembler file defines each name as a number of the
// given value.
func Defines(t *testing.T, path string, want map[string]uint64) {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#define\s+(\w+)\s+(\S+)`).FindAllSubmatch(source, -1) {
		found[string(m[1])] = string(m[2])
	}
	for name, value := range want {
		if got, err := strconv.ParseUint(found[name], 0, 64); err != nil || got != value {
			t.Errorf("%s: %s is %q, want %#x", path, name, found[name], value)
		}
	}
}
