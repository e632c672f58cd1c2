// A gateway as one writes it by hand in Go: net/http, nats.go, and encoding/json, or sonic where JSON=sonic. It does the
// job that EventPipeline's does in benchmarks/peers: takes the POST of an array of events, validates each, publishes the valid ones to
// JetStream packed in messages of at most 512 KiB, and answers when every message is acknowledged.
package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/bytedance/sonic"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	maxBody     = 64 << 20
	packedBytes = 512 << 10
	ackTimeout  = 10 * time.Second
	errorsShown = 100
)

// unmarshal is what reads JSON.
var unmarshal = json.Unmarshal

type rejected struct {
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

type outcome struct {
	Accepted int        `json:"accepted"`
	Rejected int        `json:"rejected"`
	Errors   []rejected `json:"errors"`
}

type gateway struct {
	stream jetstream.JetStream
	prefix string
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var events []json.RawMessage
	if err := unmarshal(body, &events); err != nil {
		http.Error(w, "the body is no JSON array: "+err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := g.take(body, events)
	if err != nil {
		w.Header().Set("Retry-After", "2")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if answer.Accepted == 0 && answer.Rejected > 0 {
		w.WriteHeader(http.StatusUnprocessableEntity)
	} else {
		w.WriteHeader(http.StatusAccepted)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limited := http.MaxBytesReader(w, r.Body, maxBody)
	if r.ContentLength < 0 || r.ContentLength > maxBody {
		return io.ReadAll(limited)
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(limited, body)
	return body, err
}

func (g *gateway) take(body []byte, events []json.RawMessage) (outcome, error) {
	answer := outcome{Errors: []rejected{}}
	packs := map[string]*pack{}
	room := min(packedBytes, len(body)+2)
	var sent []jetstream.PubAckFuture
	for index, raw := range events {
		source, err := validate(raw)
		if err != nil {
			answer.Rejected++
			if len(answer.Errors) < errorsShown {
				answer.Errors = append(answer.Errors, rejected{index, err.Error()})
			}
			continue
		}
		answer.Accepted++
		into, known := packs[source]
		if !known {
			into = newPack(room)
			packs[source] = into
		}
		if len(into.bytes)+len(raw)+2 > packedBytes {
			future, err := g.publish(source, into)
			if err != nil {
				return answer, err
			}
			sent = append(sent, future)
			*into = *newPack(room)
		}
		into.add(raw)
	}
	for source, into := range packs {
		future, err := g.publish(source, into)
		if err != nil {
			return answer, err
		}
		sent = append(sent, future)
	}
	return answer, acknowledged(sent)
}

func (g *gateway) publish(source string, from *pack) (jetstream.PubAckFuture, error) {
	return g.stream.PublishAsync(g.prefix+source, from.array())
}

func acknowledged(sent []jetstream.PubAckFuture) error {
	deadline := time.After(ackTimeout)
	for _, future := range sent {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			return err
		case <-deadline:
			return errors.New("JetStream did not acknowledge in time")
		}
	}
	return nil
}

// pack is the JSON array of one message on its way.
type pack struct{ bytes []byte }

func newPack(room int) *pack {
	return &pack{append(make([]byte, 0, room), '[')}
}

func (p *pack) add(raw json.RawMessage) {
	if len(p.bytes) > 1 {
		p.bytes = append(p.bytes, ',')
	}
	p.bytes = append(p.bytes, raw...)
}

func (p *pack) array() []byte {
	return append(p.bytes, ']')
}

func main() {
	if os.Getenv("JSON") == "sonic" {
		unmarshal = sonic.Unmarshal
	}
	connection, err := nats.Connect(os.Getenv("NATS_URL"), nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	stream, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /webhook/events", &gateway{stream, os.Getenv("SUBJECT_PREFIX")})
	http.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
