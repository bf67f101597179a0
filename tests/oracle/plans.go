package main

import (
	"reflect"
	"unsafe"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding"
)

// plan is what has to happen to the pod's claims on a node.
type plan struct {
	Bind      []binding `json:"bind,omitempty"`
	Provision []string  `json:"provision,omitempty"`
}

type binding struct {
	PVC string `json:"pvc"`
	PV  string `json:"pv"`
}

// plans reads what VolumeBinding remembers for the nodes. The plugin shows it to nobody, hence the unexported fields; their names are
// pinned by the version in go.mod, and another name would panic on the first case.
func plans(state fwk.CycleState, nodes []string) map[string]*plan {
	remembered, err := state.Read(fwk.StateKey(volumebinding.Name))
	if err != nil {
		return nil // the plugin does not run in this profile
	}
	byNode := unexported[map[string]*volumebinding.PodVolumes](remembered, "podVolumesByNode")
	found := map[string]*plan{}
	for _, node := range nodes {
		volumes := byNode[node]
		if volumes == nil {
			continue
		}
		made := &plan{}
		for _, item := range volumes.StaticBindings {
			claim := unexported[*v1.PersistentVolumeClaim](item, "pvc")
			volume := unexported[*v1.PersistentVolume](item, "pv")
			made.Bind = append(made.Bind, binding{PVC: claim.Name, PV: volume.Name})
		}
		for _, item := range volumes.DynamicProvisions {
			made.Provision = append(made.Provision, item.PVC.Name)
		}
		if len(made.Bind)+len(made.Provision) > 0 {
			found[node] = made
		}
	}
	return found
}

// unexported is a field of what the pointer points to.
func unexported[T any](pointer any, name string) T {
	field := reflect.ValueOf(pointer).Elem().FieldByName(name)
	return *(*T)(unsafe.Pointer(field.UnsafeAddr()))
}
