package cluster

import (
	"encoding/json"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
)

// Created is an object as it is read back from an API server that filled in what was missing. Reading it back matters to quantities: they
// are stored in their canonical form, and what overflows depends on the form that is parsed.
func Created(raw json.RawMessage) (runtime.Object, error) {
	decoder := scheme.Codecs.UniversalDeserializer()
	obj, kind, err := decoder.Decode(raw, nil, nil)
	if err != nil {
		return nil, err
	}
	legacyscheme.Scheme.Default(obj)
	if pod, ok := obj.(*v1.Pod); ok {
		if obj, err = createdPod(pod); err != nil {
			return nil, err
		}
	}
	stored, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	if obj, _, err = decoder.Decode(stored, kind, nil); err == nil {
		legacyscheme.Scheme.Default(obj)
	}
	return obj, err
}

// createdPod does what registry/core/pod does to a new pod, as far as scheduling can tell. That package is not asked itself: it brings
// etcd's client and gRPC along. A pod keeps its status, which says what became of it since.
func createdPod(pod *v1.Pod) (*v1.Pod, error) {
	for _, term := range affinityTerms(pod.Spec.Affinity) {
		merge(term.LabelSelector, term.MatchLabelKeys, metav1.LabelSelectorOpIn, pod.Labels)
		merge(term.LabelSelector, term.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, pod.Labels)
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		constraint := &pod.Spec.TopologySpreadConstraints[i]
		merge(constraint.LabelSelector, constraint.MatchLabelKeys, metav1.LabelSelectorOpIn, pod.Labels)
	}
	var internal core.Pod
	if err := legacyscheme.Scheme.Convert(pod, &internal, nil); err != nil {
		return nil, err
	}
	podutil.DefaultPodLevelResources(&internal)
	var stored v1.Pod
	if err := legacyscheme.Scheme.Convert(&internal, &stored, nil); err != nil {
		return nil, err
	}
	return &stored, nil
}

// affinityTerms are all the terms about other pods.
func affinityTerms(affinity *v1.Affinity) []*v1.PodAffinityTerm {
	var terms []*v1.PodAffinityTerm
	add := func(required []v1.PodAffinityTerm, preferred []v1.WeightedPodAffinityTerm) {
		for i := range required {
			terms = append(terms, &required[i])
		}
		for i := range preferred {
			terms = append(terms, &preferred[i].PodAffinityTerm)
		}
	}
	if affinity == nil {
		return nil
	}
	if with := affinity.PodAffinity; with != nil {
		add(with.RequiredDuringSchedulingIgnoredDuringExecution, with.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if against := affinity.PodAntiAffinity; against != nil {
		add(against.RequiredDuringSchedulingIgnoredDuringExecution, against.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return terms
}

// merge adds the pod's own values of some labels to a selector. A selector that is not there selects nothing and stays that way.
func merge(selector *metav1.LabelSelector, keys []string, operator metav1.LabelSelectorOperator, labels map[string]string) {
	if selector == nil {
		return
	}
	for _, key := range keys {
		if value, has := labels[key]; has {
			added := metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: []string{value}}
			selector.MatchExpressions = append(selector.MatchExpressions, added)
		}
	}
}
