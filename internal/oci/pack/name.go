package pack

import (
	"fmt"
	"regexp"
	"strings"
)

// The grammar of names that engines share (distribution/reference).
const (
	domain    = `(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])`
	component = `[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`
	grammar   = `^(` + domain + `(?:\.` + domain + `)*(?::[0-9]+)?)/(` + component + `(?:/` + component + `)*)(?::(\w[\w.-]{0,127}))?$`
)

// Name completes the name of an image, such as localhost/web:1, as engines do:
// without a registry it is Docker's, without a tag it is tagged latest.
func Name(text string) (string, error) {
	full := text
	first, _, slash := strings.Cut(text, "/")
	if !slash {
		full = "docker.io/library/" + text
	} else if first != "localhost" && !strings.ContainsAny(first, ".:") && first == strings.ToLower(first) {
		full = "docker.io/" + text
	}
	match := regexp.MustCompile(grammar).FindStringSubmatch(full)
	if match == nil || len(match[1])+len(match[2]) >= 255 {
		return "", fmt.Errorf("%q: want the name of an image, such as localhost/web or registry.example/web:1.0, in lower case", text)
	}
	if match[3] == "" {
		full += ":latest"
	}
	return full, nil
}
