package main

import (
	"encoding/json"
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	configscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"

	"volsched/tests/oracle/cluster"
)

const everyNode int32 = 100 // percent

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
		obj, err := cluster.Created(raw)
		if err != nil {
			return nil, fmt.Errorf("objects[%d]: %w", i, err)
		}
		if ended(obj) {
			continue // the scheduler watches pods by a field selector that leaves these out
		}
		result.objects = append(result.objects, obj)
	}
	obj, err := cluster.Created(asked.Pod)
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

// options are those of a scheduler that walks through nodes in one order.
func (c *described) options() []scheduler.Option {
	options := []scheduler.Option{scheduler.WithParallelism(1), scheduler.WithPercentageOfNodesToScore(&c.percentage)}
	if c.profiles != nil {
		options = append(options, scheduler.WithProfiles(c.profiles...))
	}
	return options
}
