package main

import (
	"net/url"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/null"
)

// Descriptors pass over unix sockets only. The elements that send and await them do not look what they run over: over
// TCP they would wait until the request ends, so a part that speaks TCP has none.

func serverDescriptors(u *url.URL, element networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
	if u.Scheme != "unix" {
		return null.NewServer()
	}
	return element
}

func clientDescriptors(u *url.URL, elements ...networkservice.NetworkServiceClient) []networkservice.NetworkServiceClient {
	if u.Scheme != "unix" {
		return nil
	}
	return elements
}
