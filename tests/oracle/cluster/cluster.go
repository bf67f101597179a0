// Package cluster makes a kube-scheduler that has seen a cluster, without an API server.
package cluster

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
)

// nobody is a client of no API server. Informers are never started, so nothing is ever asked of it.
var nobody = kubernetes.NewForConfigOrDie(&rest.Config{Host: "http://127.0.0.1:0"})

// Assemble makes a scheduler that has seen the cluster and the pods that wait. Its informers' stores and its cache are filled by hand, in the
// order given, where a running scheduler would fill them from watch events: the same content, without waiting and without the chance of
// event order.
func Assemble(
	ctx context.Context, objects []runtime.Object, pending []*v1.Pod, options ...scheduler.Option,
) (*scheduler.Scheduler, *internalcache.Snapshot, error) {
	factory := informers.NewSharedInformerFactory(nobody, 0)
	snapshot := internalcache.NewEmptySnapshot()
	silent := func(string) events.EventRecorderLogger { return &events.FakeRecorder{} }
	options = append(options, scheduler.WithNodeInfoSnapshot(snapshot))
	made, err := scheduler.New(ctx, nobody, factory, nil, silent, options...)
	if err != nil {
		return nil, nil, err
	}
	logger := klog.FromContext(ctx)
	for _, obj := range objects {
		switch known := obj.(type) {
		case *v1.Node:
			made.Cache.AddNode(logger, known)
		case *v1.Pod:
			if known.Spec.NodeName != "" {
				if err := made.Cache.AddPod(logger, known); err != nil {
					return nil, nil, err
				}
			}
		}
		if informer := watched(factory, obj); informer != nil {
			if err := informer.GetStore().Add(obj); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, pod := range pending {
		if err := watched(factory, pod).GetStore().Add(pod); err != nil {
			return nil, nil, err
		}
	}
	return made, snapshot, made.Cache.UpdateSnapshot(logger, snapshot)
}

// watched is the informer of an object's kind, nil for kinds that scheduling does not read.
func watched(factory informers.SharedInformerFactory, obj runtime.Object) cache.SharedIndexInformer {
	switch obj.(type) {
	case *v1.Node:
		return factory.Core().V1().Nodes().Informer()
	case *v1.Pod:
		return factory.Core().V1().Pods().Informer()
	case *v1.Namespace:
		return factory.Core().V1().Namespaces().Informer()
	case *v1.Service:
		return factory.Core().V1().Services().Informer()
	case *v1.ReplicationController:
		return factory.Core().V1().ReplicationControllers().Informer()
	case *appsv1.ReplicaSet:
		return factory.Apps().V1().ReplicaSets().Informer()
	case *appsv1.StatefulSet:
		return factory.Apps().V1().StatefulSets().Informer()
	case *v1.PersistentVolume:
		return factory.Core().V1().PersistentVolumes().Informer()
	case *v1.PersistentVolumeClaim:
		return factory.Core().V1().PersistentVolumeClaims().Informer()
	case *storagev1.StorageClass:
		return factory.Storage().V1().StorageClasses().Informer()
	case *storagev1.CSINode:
		return factory.Storage().V1().CSINodes().Informer()
	case *storagev1.CSIDriver:
		return factory.Storage().V1().CSIDrivers().Informer()
	case *storagev1.CSIStorageCapacity:
		return factory.Storage().V1().CSIStorageCapacities().Informer()
	case *storagev1.VolumeAttachment:
		return factory.Storage().V1().VolumeAttachments().Informer()
	}
	return nil
}
