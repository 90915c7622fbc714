// Package beside finds the separate programs that belong to gocat. Each keeps the
// libraries for one feature out of gocat, so that they do not slow down the start
// of guests.
package beside

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Program finds a program beside gocat, or in ../libexec/gocat from there. The error
// wraps os.ErrNotExist where it is in neither place.
func Program(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find %s: %w; mount /proc", name, err)
	}
	dir := filepath.Dir(self)
	var looked []string
	for _, path := range []string{filepath.Join(dir, name), filepath.Join(filepath.Dir(dir), "libexec", "gocat", name)} {
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
		looked = append(looked, path)
	}
	return "", &missingError{fmt.Sprintf("the program %s, which make build leaves beside gocat; it is not at %s", name, strings.Join(looked, " or "))}
}

type missingError struct{ text string }

func (e *missingError) Error() string { return e.text }

func (e *missingError) Is(target error) bool { return errors.Is(target, os.ErrNotExist) }
