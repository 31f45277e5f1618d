package main

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

var stdout sync.Mutex

// emit writes one event as a line of JSON.
func emit(event string, fields map[string]any) {
	line := map[string]any{"event": event}
	maps.Copy(line, fields)
	bytes, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	stdout.Lock()
	defer stdout.Unlock()
	_, _ = os.Stdout.Write(append(bytes, '\n'))
}

// described is what the tests look at in a connection.
func described(conn *networkservice.Connection) map[string]any {
	segments := []map[string]any{}
	for _, segment := range conn.GetPath().GetPathSegments() {
		expires := ""
		if segment.GetExpires() != nil {
			expires = segment.GetExpires().AsTime().Format(time.RFC3339Nano)
		}
		segments = append(segments, map[string]any{
			"name": segment.GetName(), "id": segment.GetId(), "expires": expires, "signed": segment.GetToken() != "",
		})
	}
	return map[string]any{
		"id":        conn.GetId(),
		"state":     conn.GetState().String(),
		"endpoint":  conn.GetNetworkServiceEndpointName(),
		"mechanism": conn.GetMechanism().GetType(),
		"addresses": append(append([]string{}, conn.GetContext().GetIpContext().GetSrcIpAddrs()...),
			conn.GetContext().GetIpContext().GetDstIpAddrs()...),
		"segments": segments,
	}
}

func scanLines(r io.Reader, lines chan<- string) {
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		lines <- scanner.Text()
	}
}
