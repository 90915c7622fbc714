// Package ps finds the guests that run on this host by what /proc says of each
// process, so that there is no registry that could be wrong.
package ps

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gocat/internal/image"
	"gocat/internal/tender"
)

// Guest is a guest that runs: the process that it is, or that tends it.
type Guest struct {
	PID     int       `json:"pid"`
	Backend string    `json:"backend"` // spt or hvt
	Name    string    `json:"name"`    // from --name, else the process's
	Image   string    `json:"image"`   // the last element of its path; "" for the bundled cat
	Sealed  bool      `json:"sealed"`
	Warm    bool      `json:"warm"`   // sealed, and started as what it was after an earlier start
	Memory  uint64    `json:"memory"` // bytes that the guest was given
	UID     int       `json:"uid"`
	Since   time.Time `json:"since"`
	// Devices are what the guest's descriptors lead to: tap:NAME, a path, or a
	// kind such as pipe or socket. Nil where they may not be looked at.
	Devices []string `json:"devices"`
}

// List returns the guests that the proc file system at root shows, in order of
// their process numbers.
func List(root string) ([]Guest, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	booted, err := bootTime(root)
	if err != nil {
		return nil, err
	}
	var all []Guest
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			// One that is gone meanwhile is no guest.
			if g, ok := look(filepath.Join(root, e.Name()), booted); ok {
				g.PID = pid
				all = append(all, g)
			}
		}
	}
	slices.SortFunc(all, func(a, b Guest) int { return a.PID - b.PID })
	return all, nil
}

// look returns what a process is, if it is a guest or tends one: it has the
// command line of one, and is confined as one.
func look(dir string, booted time.Time) (g Guest, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || len(b) == 0 {
		return g, false
	}
	if !g.read(strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")) {
		return g, false
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return g, false
	}
	var machine bool
	g.Devices, machine = devices(dir)
	confined := field(status, "Seccomp") == "2" && field(status, "NoNewPrivs") == "1"
	if !confined && !(machine && g.Backend == image.HVT.String()) {
		return g, false // it is about to start, has failed, or is something else
	}
	g.UID, _ = strconv.Atoi(strings.Fields(field(status, "Uid") + " 0")[0])
	label := g.Name
	g.Name, g.Since, err = started(dir, booted)
	if label != "" {
		g.Name = label
	}
	return g, err == nil
}

// read takes what a command line says of a guest.
func (g *Guest) read(words []string) bool {
	prog := filepath.Base(words[0])
	if d, ok := tender.DropInFor(prog); ok {
		return g.readDropIn(d, words[1:])
	}
	if prog == "gocat" && len(words) > 4 && words[1] == tender.TendContainerCommand {
		words = append([]string{prog, "run"}, words[4:]...) // without its two descriptors
	}
	if prog != "gocat" || len(words) < 2 || words[1] != "run" && words[1] != "sealed" && words[1] != "warm" {
		return false
	}
	inv, err := tender.Parse(words[2:], tender.Table())
	if err != nil {
		return false
	}
	if inv.Supervised() {
		return false // it looks into the guest, which is a process of its own
	}
	backend := inv.Backend
	if backend == 0 {
		backend = image.HVT // an spt guest's always names it
	}
	g.Backend, g.Sealed, g.Warm, g.Memory, g.Image = backend.String(), words[1] != "run", words[1] == "warm", inv.Memory, lastElement(inv.Kernel)
	g.Name = inv.Label // whole, and of an hvt guest's tender too
	return true
}

// readDropIn is read for Solo5's names, whose options have their values with them.
func (g *Guest) readDropIn(d tender.DropIn, words []string) bool {
	g.Backend, g.Memory = d.Target.String(), tender.DefaultMemory
	for _, word := range words {
		if mem, ok := strings.CutPrefix(word, "--mem="); ok {
			mb, err := strconv.ParseUint(mem, 10, 32)
			if err != nil {
				return false
			}
			g.Memory = mb << 20
		}
		if word != "--" && !strings.HasPrefix(word, "-") {
			g.Image = lastElement(word)
			return true
		}
	}
	return false
}

// lastElement is filepath.Base, but "" stays so.
func lastElement(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Base(path)
}

// field returns a field of /proc/PID/status.
func field(status []byte, name string) string {
	_, rest, _ := strings.Cut("\n"+string(status), "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// ticks is how many ticks a second has in /proc (USER_HZ).
const ticks = 100

// started returns a process's name and when it was started, from /proc/PID/stat.
// The name is in parentheses and may hold any character.
func started(dir string, booted time.Time) (name string, since time.Time, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return "", since, err
	}
	open, end := strings.IndexByte(string(b), '('), strings.LastIndexByte(string(b), ')')
	if open < 0 || end < open {
		return "", since, errors.New("unexpected /proc/PID/stat")
	}
	fields := strings.Fields(string(b[end+1:])) // from the third on
	if len(fields) < 20 {
		return "", since, errors.New("unexpected /proc/PID/stat")
	}
	n, err := strconv.ParseInt(fields[19], 10, 64)
	return string(b[open+1 : end]), booted.Add(time.Duration(n) * time.Second / ticks), err
}

// bootTime is when the host was started.
func bootTime(root string) (time.Time, error) {
	b, err := os.ReadFile(filepath.Join(root, "stat"))
	if err != nil {
		return time.Time{}, err
	}
	_, rest, _ := strings.Cut(string(b), "\nbtime ")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(line, 10, 64)
	return time.Unix(n, 0), err
}
