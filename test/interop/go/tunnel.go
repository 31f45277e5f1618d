package main

import (
	"context"
	"net"

	"github.com/golang/protobuf/ptypes/empty"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	vxlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/filtermechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/vxlan/vni"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// Between nodes a forwarder offers VXLAN to the next hop, and the kernel's mechanism only on its own node, as the published
// forwarders do. Without a tunnel address there is one node.

func addTunnelServer(tunnelIP string, servers map[string]networkservice.NetworkServiceServer) map[string]networkservice.NetworkServiceServer {
	if tunnelIP != "" {
		servers[vxlanmech.MECHANISM] = vni.NewServer(net.ParseIP(tunnelIP))
	}
	return servers
}

func tunnelClients(tunnelIP string) []networkservice.NetworkServiceClient {
	if tunnelIP == "" {
		return nil
	}
	return []networkservice.NetworkServiceClient{
		&offerVxlan{}, vni.NewClient(net.ParseIP(tunnelIP)), filtermechanisms.NewClient(),
	}
}

type offerVxlan struct{}

func (*offerVxlan) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	request.MechanismPreferences = append(request.GetMechanismPreferences(), &networkservice.Mechanism{
		Cls: cls.REMOTE, Type: vxlanmech.MECHANISM, Parameters: map[string]string{},
	})
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (*offerVxlan) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*empty.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
