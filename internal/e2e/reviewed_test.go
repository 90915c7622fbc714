package e2e

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gocat/internal/image"
)

// reviewed is an entry of a list of testdata, of which each names a package whose
// tests are run as a unikernel, and what becomes of them:
//
//	WORDS
//		fail NAME: REASON     the test fails
//		skip NAME: REASON     the test is left out
//		native NAME: REASON   the test is left out natively too
//
// With a backend's name before NAME this holds for that backend alone.
type reviewed struct {
	words []string          // those of the entry's line
	quick bool              // that has the word *: run when there is little time
	fails map[string]string // tests that fail, and why
	skips []string          // tests left out
	never []string          // those left out natively too
}

// readReviewed reads what a list says of a backend.
func readReviewed(t *testing.T, name string, target image.Target) (all []reviewed) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] != '\t' {
			words := strings.Fields(line)
			r := reviewed{fails: map[string]string{}}
			r.words = slices.DeleteFunc(words, func(w string) bool { return w == "*" })
			r.quick = len(r.words) < len(words)
			all = append(all, r)
			continue
		}
		of, reason, found := strings.Cut(line[1:], ": ")
		words := strings.Fields(of)
		if !found || len(all) == 0 || len(words) < 2 || len(words) > 3 || reason == "" {
			t.Fatalf("%s: %q", name, line)
		}
		if len(words) == 3 && words[1] != target.String() {
			continue
		}
		r, test := &all[len(all)-1], words[len(words)-1]
		switch words[0] {
		case "fail":
			r.fails[test] = reason
		case "skip":
			r.skips = append(r.skips, test)
		case "native":
			r.never = append(r.never, test)
		default:
			t.Fatalf("%s: %q", name, line)
		}
	}
	return all
}

// leaveOut is the option that leaves out tests, if there are any.
func leaveOut(names ...string) []string {
	if len(names) == 0 {
		return nil
	}
	return []string{"-test.skip=^(" + strings.Join(names, "|") + ")$"}
}

// skipped says whether leaveOut of names leaves out a test.
func skipped(names []string, test string) bool {
	return len(names) > 0 && regexp.MustCompile("^("+strings.Join(names, "|")+")$").MatchString(test)
}

var verdict = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+) `)

// verdicts has what a program of tests printed of each on the first level: PASS,
// FAIL or SKIP.
func verdicts(text string) map[string]string {
	all := map[string]string{}
	for _, m := range verdict.FindAllStringSubmatch(text, -1) {
		all[m[2]] = m[1]
	}
	return all
}

// with has the names of the tests that had a verdict, sorted.
func with(verdict string, of map[string]string) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if of[name] == verdict {
			names = append(names, name)
		}
	}
	return names
}

// from is what a program of tests printed from a test's start on, at most n bytes.
func from(text, test string, n int) string {
	_, rest, _ := strings.Cut(text, "=== RUN   "+test+"\n")
	return fmt.Sprintf("%s: %.*s", test, n, rest)
}
