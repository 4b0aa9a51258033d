// An HTTP server whose behaviour is the same data as that of `tracer-app serve`, as far as chains of calls need it. It is in
// Go because Go's scheduler moves a request from thread to thread while it is served.
package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

type call struct {
	URL       string `json:"url"`
	When      string `json:"when"`
	OnFailure int    `json:"on_failure"`
}

type route struct {
	Status  int    `json:"status"`
	DelayMs int    `json:"delay_ms"`
	Calls   []call `json:"calls"`
}

var client = &http.Client{
	Timeout:   30 * time.Second,
	Transport: &http.Transport{MaxIdleConnsPerHost: 128},
}

func (c call) applies(query string) bool {
	if c.When == "" {
		return true
	}
	for _, pair := range strings.Split(query, "&") {
		if pair == c.When {
			return true
		}
	}
	return false
}

func (c call) fails(incoming *http.Request) bool {
	outgoing, err := http.NewRequest("GET", c.URL, nil)
	if err != nil {
		return true
	}
	for _, name := range []string{"X-Request-Id", "Traceparent"} {
		if id := incoming.Header.Get(name); id != "" {
			outgoing.Header.Set(name, id)
		}
	}
	response, err := client.Do(outgoing)
	if err != nil {
		return true
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode >= 500
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	routes := map[string]route{}
	if err := json.Unmarshal(text, &routes); err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		chosen, ok := routes[r.URL.Path]
		if !ok {
			chosen, ok = routes["*"]
		}
		if !ok {
			w.WriteHeader(404)
			return
		}
		for _, c := range chosen.Calls {
			if c.applies(r.URL.RawQuery) && c.fails(r) {
				w.WriteHeader(c.OnFailure)
				return
			}
		}
		time.Sleep(time.Duration(chosen.DelayMs) * time.Millisecond)
		w.WriteHeader(chosen.Status)
	})
	panic(http.ListenAndServe(os.Args[1], nil))
}
