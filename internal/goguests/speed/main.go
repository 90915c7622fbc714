// Command speed is a plain web server to measure: GET / has a short answer, and POST
// to /sink has what was sent counted. With the build tag gvisor it is also a native
// program with a network stack of its own on a tap:
//
//	speed ADDRESS:PORT
//	speed TAP ADDRESS:PORT
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// listenTap listens with a network stack on a tap.
var listenTap = func(tap, address string) (net.Listener, error) {
	return nil, errors.New("built without the tag gvisor")
}

func main() {
	var l net.Listener
	var err error
	if args := os.Args[1:]; len(args) == 2 {
		l, err = listenTap(args[0], args[1])
	} else {
		l, err = net.Listen("tcp", args[0])
	}
	if err != nil {
		fmt.Println("speed:", err)
		os.Exit(1)
	}
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "Hello\n") })
	http.HandleFunc("POST /sink", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, " ", err)
	})
	fmt.Println("speed: ready")
	fmt.Println("speed:", http.Serve(l, nil))
	os.Exit(1)
}
