package tender

import (
	"fmt"
	"strings"
)

// UnknownOption is the error for an option, as given, that is not in names (which
// have no dashes). command is the command whose help lists them, "" if that is not
// known.
func UnknownOption(given string, names []string, command string) error {
	word := strings.TrimLeft(given, "-")
	if end := strings.IndexAny(word, ":="); end >= 0 {
		word = word[:end]
	}
	if command != "" {
		command += " "
	}
	if near := Nearest(word, names); near != "" && len(word) > 1 {
		return fmt.Errorf("unknown option %s; did you mean --%s? See %s--help", given, near, command)
	}
	return fmt.Errorf("unknown option %s: see %s--help", given, command)
}

// misplaced says which of the guest's arguments looks like an option that attaches a
// device, "" if none does.
func (g *Guest) misplaced() string {
	for i, arg := range g.Args {
		name := strings.TrimPrefix(arg, "--")
		if end := strings.IndexAny(name, ":="); end >= 0 {
			name = name[:end]
		}
		if name == arg || name != "net" && name != "block" {
			continue
		}
		if arg == "--"+name && i+1 < len(g.Args) {
			arg += " " + g.Args[i+1]
		}
		return arg
	}
	return ""
}

// Nearest is the one of names that word was most likely meant to be, "" if none
// is near: that differs by at most two letters, and by less than half of them.
func Nearest(word string, names []string) (near string) {
	best := 3
	for _, name := range names {
		if d := distance(word, name); d < best && 2*d < len(name) {
			near, best = name, d
		}
	}
	return near
}

// distance counts the letters to change, add, remove or swap with their
// neighbour to turn a into b. Long words are far from everything.
func distance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 40
	}
	var rows [3][41]int // the row before the last, the last, this one
	for j := range rows[2] {
		rows[2][j] = j
	}
	for i := range len(a) {
		rows[0], rows[1] = rows[1], rows[2]
		rows[2][0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			d := min(rows[1][j]+cost, rows[1][j+1]+1, rows[2][j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, rows[0][j-1]+1)
			}
			rows[2][j+1] = d
		}
	}
	return rows[2][len(b)]
}
