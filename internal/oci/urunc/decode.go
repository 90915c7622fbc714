package urunc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	fileName = "urunc.json"
	// maxFile is the most bytes that urunc.json may have: several times what the
	// longest command line takes, with its encoding.
	maxFile = 64 << 10
	// maxValue is the most bytes of a value. A guest's command line is no longer.
	maxValue = 8 << 10
	// maxDepth is how often a value may be encoded: urunc's tools encode what is
	// in urunc.json, and some have encoded annotations before.
	maxDepth = 2
)

// decode returns the values of one source as urunc means them. They are plain,
// or all encoded as often as the type is.
func decode(values map[string]string, source string) (map[string]string, error) {
	for _, key := range sorted(values) {
		if !slices.Contains(keys, key) {
			return nil, fmt.Errorf("%s %s is not known: of urunc's, %s are", source, quote(key), unik+"*")
		}
		if len(values[key]) > 2*maxValue { // base64 of base64 is 16/9
			return nil, fmt.Errorf("%s %s has %d bytes: at most %d are allowed", source, key, len(values[key]), 2*maxValue)
		}
	}
	depth := 0
	for t, err := values[keyType], error(nil); t != "" && !slices.Contains(types, t); depth++ {
		if t, err = unbase64(t); err != nil || depth == maxDepth {
			return nil, fmt.Errorf("%s %s is %s: want mirage", source, keyType, quote(values[keyType]))
		}
	}
	plain := make(map[string]string)
	for _, key := range sorted(values) {
		value, err := values[key], error(nil)
		for range depth {
			if value, err = unbase64(value); err != nil {
				return nil, fmt.Errorf("%s %s is %s: want base64, as %s has", source, key, quote(values[key]), keyType)
			}
		}
		switch {
		case len(value) > maxValue:
			return nil, fmt.Errorf("%s %s has %d bytes: at most %d are allowed", source, key, len(value), maxValue)
		case strings.ContainsRune(value, 0):
			return nil, fmt.Errorf("%s %s has a zero byte", source, key)
		case value != "":
			plain[key] = value
		}
	}
	return plain, nil
}

func unbase64(s string) (string, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(s))
	return string(b), err
}

func sorted(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// quote makes hostile text fit for one short line.
func quote(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// readFile returns urunc's keys of urunc.json; without such a file, none.
func readFile(root *os.File) (map[string]string, error) {
	f, err := Open(root, fileName)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return parse(b)
}

// parse reads an object of strings. Unlike json.Unmarshal it refuses a key that
// comes twice: which one counts differs between readers.
func parse(b []byte) (map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("want a JSON object")
	}
	m := make(map[string]string)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, oneLine(err)
		}
		key, ok := t.(string)
		if !ok {
			return nil, errors.New("want a JSON object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, oneLine(err)
		}
		if !strings.HasPrefix(key, prefix) {
			continue // labels of the image's
		}
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("%s comes twice", quote(key))
		}
		var text *string
		if err := json.Unmarshal(value, &text); err != nil || text == nil {
			return nil, fmt.Errorf("%s: want a string", quote(key))
		}
		m[key] = *text
	}
	if _, err := d.Token(); err != nil {
		return nil, oneLine(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return m, nil
}

// oneLine is an error of the JSON reader, which may quote what it read.
func oneLine(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return fmt.Errorf("not JSON: %s", strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, err.Error()))
}
