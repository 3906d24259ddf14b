package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Crictl is the part of K3s's crictl that Bowline asks for: `images -o json`,
// `ps [-a] -o json` and `rmi ID…`, of the containerd that runs, by the CRI.
// As with crictl, each question has two seconds, or what `--timeout=` says.
func Crictl(args []string) error {
	patience := 2 * time.Second
	if len(args) > 0 {
		if text, found := strings.CutPrefix(args[0], "--timeout="); found {
			given, err := time.ParseDuration(text)
			if err != nil {
				return err
			}
			patience, args = given, args[1:]
		}
	}
	if len(args) == 0 {
		return fmt.Errorf("crictl: this stand-in has images, ps and rmi")
	}
	conn, err := grpc.NewClient("unix://"+containerdSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	images, runtime := cri.NewImageServiceClient(conn), cri.NewRuntimeServiceClient(conn)
	flags := map[string]bool{}
	for _, arg := range args[1:] {
		flags[arg] = true
	}
	switch {
	case args[0] == "images" && flags["json"]:
		found, err := images.ListImages(ctx, &cri.ListImagesRequest{})
		return printed(found, err)
	case args[0] == "ps" && flags["json"]:
		filter := &cri.ContainerFilter{}
		if !flags["-a"] {
			filter.State = &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}
		}
		found, err := runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: filter})
		return printed(found, err)
	case args[0] == "rmi":
		for _, id := range args[1:] {
			spec := &cri.ImageSpec{Image: id}
			status, err := images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: spec})
			if err != nil {
				return err
			}
			if status.Image == nil {
				return fmt.Errorf("no such image %s", id)
			}
			if _, err := images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: spec}); err != nil {
				return err
			}
			fmt.Printf("Deleted: %s\n", id)
		}
		return nil
	}
	return fmt.Errorf("crictl %v: not built in this stand-in: it has images, ps and rmi", args)
}

// printed writes an answer as crictl does.
func printed(answer proto.Message, err error) error {
	if err != nil {
		return err
	}
	text, err := protojson.MarshalOptions{Multiline: true, Indent: "  ", EmitUnpopulated: true}.Marshal(answer)
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}
