package isolate

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// lookUp returns the fields of the entry of name in a file such as /etc/passwd, of
// which there are at least the given number. Package os/user would do the same, but
// it needs the Go runtime and initialises variables at the start of every program
// that imports it.
func lookUp(file, name string, fields int) ([]string, error) {
	rest, err := contents(file)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		if found, _, _ := strings.Cut(line, ":"); found != name {
			continue
		}
		entry := raw.Slice[string](0, 8)
		for more := true; more; {
			var field string
			field, line, more = strings.Cut(line, ":")
			entry = raw.Append(entry, field)
		}
		if len(entry) >= fields {
			return entry, nil
		}
	}
	return nil, fmt.Errorf("%q: there is no such name in %s", name, file)
}

// contents maps a file for as long as the process lives.
func contents(file string) (string, error) {
	fd, err := raw.Open(file, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer raw.Close(fd)
	var st unix.Stat_t
	if err := raw.Fstat(fd, &st); err != nil || st.Size == 0 {
		return "", err
	}
	b, err := raw.MmapFile(fd, int(st.Size))
	return raw.String(b), err
}
