package testhost

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// Cmdline returns the words of a process's command line, as others read it.
func Cmdline(t testing.TB, pid int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimSuffix(string(b), "\x00"), "\x00", " ")
}
