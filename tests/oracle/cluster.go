package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	configscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
)

const everyNode int32 = 100 // percent

// nobody is a client of no API server. Informers are never started, so nothing is ever asked of it.
var nobody = kubernetes.NewForConfigOrDie(&rest.Config{Host: "http://127.0.0.1:0"})

// described is a case that has been read: a cluster, a pod to decide on, and by which profiles.
type described struct {
	id         string
	objects    []runtime.Object
	pod        *v1.Pod
	profiles   []config.KubeSchedulerProfile // nil: the default one
	percentage int32
}

func read(asked *question) (*described, error) {
	result := &described{id: asked.ID, percentage: everyNode}
	if asked.Percentage != nil {
		result.percentage = *asked.Percentage
	}
	for i, raw := range asked.Objects {
		obj, err := created(raw)
		if err != nil {
			return nil, fmt.Errorf("objects[%d]: %w", i, err)
		}
		if ended(obj) {
			continue // the scheduler watches pods by a field selector that leaves these out
		}
		result.objects = append(result.objects, obj)
	}
	obj, err := created(asked.Pod)
	if err != nil {
		return nil, fmt.Errorf("pod: %w", err)
	}
	pod, ok := obj.(*v1.Pod)
	if !ok {
		return nil, fmt.Errorf("pod: a %T is none", obj)
	}
	result.pod = pod
	if len(asked.Config) > 0 {
		if result.profiles, err = profiles(asked.Config); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func ended(obj runtime.Object) bool {
	pod, ok := obj.(*v1.Pod)
	return ok && (pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed)
}

// profiles reads a configuration as strictly as kube-scheduler's --config does.
func profiles(raw json.RawMessage) ([]config.KubeSchedulerProfile, error) {
	obj, _, err := configscheme.Codecs.UniversalDecoder().Decode(raw, nil, nil)
	if err != nil {
		return nil, err
	}
	read, ok := obj.(*config.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("a %T is no configuration", obj)
	}
	read.APIVersion = configscheme.Scheme.PrioritizedVersionsAllGroups()[0].String()
	if err := validation.ValidateKubeSchedulerConfiguration(read); err != nil {
		return nil, err
	}
	if len(read.Extenders) > 0 {
		return nil, errors.New("extenders are not asked here")
	}
	return read.Profiles, nil
}

// assemble makes a scheduler that has seen the cluster. Its informers' stores and its cache are filled by hand, in the order given, where
// a running scheduler would fill them from watch events: the same content, without waiting and without the chance of event order.
func (c *described) assemble(ctx context.Context) (*scheduler.Scheduler, *internalcache.Snapshot, error) {
	factory := informers.NewSharedInformerFactory(nobody, 0)
	snapshot := internalcache.NewEmptySnapshot()
	options := []scheduler.Option{
		scheduler.WithNodeInfoSnapshot(snapshot),
		scheduler.WithParallelism(1),
		scheduler.WithPercentageOfNodesToScore(&c.percentage),
	}
	if c.profiles != nil {
		options = append(options, scheduler.WithProfiles(c.profiles...))
	}
	silent := func(string) events.EventRecorderLogger { return &events.FakeRecorder{} }
	made, err := scheduler.New(ctx, nobody, factory, nil, silent, options...)
	if err != nil {
		return nil, nil, err
	}
	logger := klog.FromContext(ctx)
	for _, obj := range append(c.objects[:len(c.objects):len(c.objects)], c.pod) {
		switch known := obj.(type) {
		case *v1.Node:
			made.Cache.AddNode(logger, known)
		case *v1.Pod:
			if known.Spec.NodeName != "" && known != c.pod {
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
