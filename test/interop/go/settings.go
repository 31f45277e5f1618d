package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/edwarnicke/grpcfd"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"github.com/networkservicemesh/sdk/pkg/tools/sandbox"
	"github.com/networkservicemesh/sdk/pkg/tools/spiffejwt"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

// settings are the flags that every part has.
type settings struct {
	*flag.FlagSet
	name        *string
	listen      *string
	connectTo   *string
	mtls        *bool
	policies    *bool
	lifetime    *time.Duration
	dialTimeout *time.Duration
}

func newSettings(part string) settings {
	flags := flag.NewFlagSet(part, flag.ContinueOnError)
	return settings{
		FlagSet:     flags,
		name:        flags.String("name", part, "name in the path and in the registry"),
		listen:      flags.String("listen", "", "url to listen on"),
		connectTo:   flags.String("connect-to", "", "url of the next part: the node manager, or the registry for a node manager"),
		mtls:        flags.Bool("mtls", false, "identity from the Workload API at $SPIFFE_ENDPOINT_SOCKET; else plain text and test tokens"),
		policies:    flags.Bool("policies", false, "the policies that the upstream commands have by default"),
		lifetime:    flags.Duration("lifetime", 10*time.Minute, "life of a token"),
		dialTimeout: flags.Duration("dial-timeout", 750*time.Millisecond, "how long a connection to the next part may take"),
	}
}

// security is how a part speaks with others.
type security struct {
	tokens token.GeneratorFunc
	dial   []grpc.DialOption
	serve  grpc.ServerOption
}

func (s settings) security(ctx context.Context) (security, error) {
	if !*s.mtls {
		generator := sandbox.GenerateExpiringToken(*s.lifetime)
		return security{
			tokens: generator,
			dial:   sandbox.DialOptions(sandbox.WithTokenGenerator(generator)),
			serve:  grpc.Creds(grpcfd.TransportCredentials(insecure.NewCredentials())),
		}, nil
	}
	starting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	source, err := workloadapi.NewX509Source(starting)
	if err != nil {
		return security{}, fmt.Errorf("no identity: %w", err)
	}
	client := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeAny())
	client.MinVersion = tls.VersionTLS12
	server := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeAny())
	server.MinVersion = tls.VersionTLS12
	generator := spiffejwt.TokenGeneratorFunc(source, *s.lifetime)
	return security{
		tokens: generator,
		dial: []grpc.DialOption{
			grpc.WithTransportCredentials(grpcfd.TransportCredentials(credentials.NewTLS(client))),
			grpc.WithDefaultCallOptions(grpc.PerRPCCredentials(token.NewPerRPCCredentials(generator))),
			grpcfd.WithChainStreamInterceptor(),
			grpcfd.WithChainUnaryInterceptor(),
		},
		serve: grpc.Creds(grpcfd.TransportCredentials(credentials.NewTLS(server))),
	}, nil
}

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || text == "" {
		fmt.Fprintf(os.Stderr, "interop: %q is no url\n", text)
		os.Exit(2)
	}
	return u
}

// listenAndServe returns when all urls are listened on; failed gets what ends the server.
func listenAndServe(ctx context.Context, urls []*url.URL, sec security, register func(*grpc.Server)) <-chan error {
	failed := make(chan error, len(urls))
	server := grpc.NewServer(sec.serve)
	register(server)
	for _, u := range urls {
		errs := grpcutils.ListenAndServe(ctx, u, server)
		go func() {
			for err := range errs {
				failed <- err
			}
		}()
	}
	return failed
}

// untilEnd waits for the end of ctx or a failure of the server.
func untilEnd(ctx context.Context, failed <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
}
