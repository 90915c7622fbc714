package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// get is a client of HTTP.
func get(client *http.Client, url string, check func(i int, body string) error) (func(i int) error, error) {
	return func(i int) error {
		r, err := client.Get(strings.ReplaceAll(url, "{i}", fmt.Sprint(i)))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		return check(i, string(b))
	}, nil
}

func startChi() (func() (func(i int) error, error), error) {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Recoverer)
	r.Get("/hello/{name}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello ", chi.URLParam(r, "name")) })
	l := listen()
	go http.Serve(l, r)
	return func() (func(int) error, error) {
		client := &http.Client{Transport: &http.Transport{}}
		return get(client, "http://"+l.Addr().String()+"/hello/{i}", func(i int, body string) error { return same(body, fmt.Sprint("hello ", i)) })
	}, nil
}

func startHTTPS() (func() (func(i int) error, error), error) {
	s := &httptest.Server{Listener: listen(), EnableHTTP2: true, Config: &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, r.URL.Path) }),
	}}
	s.StartTLS()
	s.Client().Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com" // as in its certificate
	return func() (func(int) error, error) {
		return get(s.Client(), s.URL+"/{i}", func(i int, body string) error { return same(body, fmt.Sprint("HTTP/2.0/", i)) })
	}, nil
}

func startPrometheus() (func() (func(i int) error, error), error) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "requests"})
	registry.MustRegister(counter)
	l := listen()
	go http.Serve(l, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return func() (func(int) error, error) {
		client := &http.Client{Transport: &http.Transport{}}
		return get(client, "http://"+l.Addr().String()+"/metrics", func(_ int, body string) error {
			counter.Inc()
			if !strings.Contains(body, "\nrequests ") {
				return fmt.Errorf("no counter in %q", body)
			}
			return nil
		})
	}, nil
}

func startWebSocket() (func() (func(i int) error, error), error) {
	l := listen()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			typ, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), typ, b) != nil {
				return
			}
		}
	}))
	return func() (func(int) error, error) {
		c, _, err := websocket.Dial(context.Background(), "ws://"+l.Addr().String(), nil)
		return func(i int) error {
			want := fmt.Sprint("echo ", i)
			if err := c.Write(context.Background(), websocket.MessageText, []byte(want)); err != nil {
				return err
			}
			_, b, err := c.Read(context.Background())
			if err != nil {
				return err
			}
			return same(string(b), want)
		}, err
	}, nil
}
