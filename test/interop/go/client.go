package main

import (
	"context"
	"fmt"
	"time"

	"github.com/golang/protobuf/ptypes/empty"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/heal"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/retry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
)

// runClient asks for one connection and keeps it, as cmd-nsc does. Commands: monitor, close.
func runClient(ctx context.Context, args []string, commands <-chan string) error {
	s := newSettings("client")
	service := s.String("service", "interop", "network service wanted")
	id := s.String("id", "", "id of the connection")
	requestTimeout := s.Duration("request-timeout", 5*time.Second, "for one request")
	if err := s.Parse(args); err != nil {
		return err
	}
	sec, err := s.security(ctx)
	if err != nil {
		return err
	}
	r := newRules(*s.policies)
	dial := append(sec.dial, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	manager := mustURL(*s.connectTo)
	chain := retry.NewClient(client.NewClient(ctx,
		client.WithName(*s.name),
		client.WithClientURL(manager),
		client.WithDialOptions(dial...),
		client.WithDialTimeout(*s.dialTimeout),
		client.WithAuthorizeClient(r.client),
		client.WithHealClient(heal.NewClient(ctx)),
		client.WithAdditionalFunctionality(append([]networkservice.NetworkServiceClient{
			&granted{}, kernel.NewClient(kernel.WithInterfaceName("nsm-1")),
		}, clientDescriptors(manager, sendfd.NewClient())...)...),
	), retry.WithTryTimeout(*requestTimeout))
	conn, err := chain.Request(ctx, &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{
			Id: *id, NetworkService: *service, Payload: "ETHERNET", Labels: map[string]string{"app": "interop"},
		},
	})
	if err != nil {
		return err
	}
	emit("connected", described(conn))
	for {
		select {
		case <-ctx.Done():
			return nil
		case command := <-commands:
			switch command {
			case "monitor":
				go watch(ctx, grpcutils.URLToTarget(manager), sec, *id)
			case "close":
				closing, cancel := context.WithTimeout(ctx, *requestTimeout)
				_, err := chain.Close(closing, conn)
				cancel()
				emit("closed", map[string]any{"error": textOf(err)})
			default:
				return fmt.Errorf("unknown command %q", command)
			}
		}
	}
}

// granted is an element that tells of every answer: to the first request, to refreshes, to requests that heal.
type granted struct{}

func (*granted) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		emit("refused", map[string]any{"error": err.Error()})
		return nil, err
	}
	emit("granted", described(conn))
	return conn, nil
}

func (*granted) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*empty.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// watch tells what the manager says about the connections whose path has this id.
func watch(ctx context.Context, target string, sec security, id string) {
	cc, err := grpc.NewClient(target, sec.dial...)
	if err != nil {
		emit("monitor-ended", map[string]any{"error": err.Error()})
		return
	}
	defer func() { _ = cc.Close() }()
	stream, err := networkservice.NewMonitorConnectionClient(cc).MonitorConnections(ctx, &networkservice.MonitorScopeSelector{
		PathSegments: []*networkservice.PathSegment{{Id: id}},
	})
	for err == nil {
		var event *networkservice.ConnectionEvent
		event, err = stream.Recv()
		if err == nil {
			connections := []map[string]any{}
			for _, conn := range event.GetConnections() {
				connections = append(connections, described(conn))
			}
			emit("monitor", map[string]any{"type": event.GetType().String(), "connections": connections})
		}
	}
	emit("monitor-ended", map[string]any{"error": err.Error()})
}
