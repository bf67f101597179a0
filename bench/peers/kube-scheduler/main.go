// The peer drives kube-scheduler's own code over a workload file, as fast as it goes: no API server, no queue, no binding.
//
//	workload, JSON lines ──objects──> stores and cache ──for each pending pod: snapshot, SchedulePod, AssumePod, Reserve──> figures, JSON
//
// What is timed is a scheduling cycle of schedule_one.go up to Reserve. Pods come in file order. A pod that fits nowhere is counted and
// left; preemption is not tried. The hash over the placements is made as `volsched bench` makes it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/metrics"

	"volsched/tests/oracle/cluster"
)

// figures has the fields that `volsched bench` prints, and where each pod went.
type figures struct {
	Nodes      int      `json:"nodes"`
	Attempted  int      `json:"attempted"`
	Scheduled  int      `json:"scheduled"`
	Failed     int      `json:"failed"`
	Seconds    float64  `json:"seconds"`
	PodsPerS   float64  `json:"pods_per_s"`
	P50        float64  `json:"p50_us"`
	P99        float64  `json:"p99_us"`
	Hash       string   `json:"placements_sha256"`
	Placements []string `json:"placements,omitempty"`
}

// settings say how the scheduler works and when to stop.
type settings struct {
	parallelism int
	percentage  int // 0: sampled as many nodes as kube-scheduler looks at by default
	limit       time.Duration
	placements  bool
}

// workload is a file that has been read.
type workload struct {
	nodes   int
	objects []runtime.Object
	pending []*v1.Pod
}

func main() {
	var with settings
	flag.IntVar(&with.parallelism, "parallelism", 16, "goroutines that filter and score")
	flag.IntVar(&with.percentage, "percentage", 0, "percentage of nodes to score, 0 for the adaptive one")
	flag.DurationVar(&with.limit, "limit", 0, "stop after this long, 0 for never")
	flag.BoolVar(&with.placements, "placements", false, "say where each pod went")
	flag.Parse()
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	metrics.Register()
	if err := run(flag.Args(), with, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kube-scheduler peer:", err)
		os.Exit(1)
	}
}

func run(files []string, with settings, out io.Writer) error {
	if len(files) != 1 {
		return errors.New("expected one workload file")
	}
	file, err := os.Open(files[0])
	if err != nil {
		return err
	}
	defer file.Close()
	work, err := load(file)
	if err != nil {
		return fmt.Errorf("%s: %w", files[0], err)
	}
	found, err := work.place(context.Background(), with)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(found)
}

func load(in io.Reader) (*workload, error) {
	work := &workload{}
	lines := bufio.NewReaderSize(in, 1<<20)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if err := work.add(line); err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
		}
		if err == io.EOF {
			return work, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (w *workload) add(line []byte) error {
	obj, err := cluster.Created(line)
	if err != nil {
		return err
	}
	switch known := obj.(type) {
	case *v1.Node:
		w.nodes++
	case *v1.Pod:
		if known.Spec.NodeName == "" {
			w.pending = append(w.pending, known)
			return nil
		}
	}
	w.objects = append(w.objects, obj)
	return nil
}

// place takes one pending pod after the other through the scheduling cycle.
func (w *workload) place(ctx context.Context, with settings) (*figures, error) {
	percentage := int32(with.percentage)
	sched, snapshot, err := cluster.Assemble(ctx, w.objects, w.pending,
		scheduler.WithParallelism(int32(with.parallelism)), scheduler.WithPercentageOfNodesToScore(&percentage))
	if err != nil {
		return nil, err
	}
	found := &figures{Nodes: w.nodes}
	hash := sha256.New()
	var took []time.Duration
	begun := time.Now()
	for _, pod := range w.pending {
		start := time.Now()
		node, err := cycle(ctx, sched, snapshot, pod)
		if err != nil {
			return nil, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		took = append(took, time.Since(start))
		if node != "" {
			found.Scheduled++
		}
		fmt.Fprintf(hash, "%s/%s %s\n", pod.Namespace, pod.Name, node)
		if with.placements {
			found.Placements = append(found.Placements, node)
		}
		if with.limit > 0 && time.Since(begun) > with.limit {
			break
		}
	}
	found.Seconds = time.Since(begun).Seconds()
	found.Attempted = len(took)
	found.Failed = found.Attempted - found.Scheduled
	found.Hash = hex.EncodeToString(hash.Sum(nil))
	if len(took) > 0 {
		found.PodsPerS = float64(len(took)) / found.Seconds
		slices.Sort(took)
		found.P50, found.P99 = percentile(took, 50), percentile(took, 99)
	}
	return found, nil
}

// cycle is one scheduling cycle up to Reserve. It answers the node, empty when the pod fits nowhere.
func cycle(ctx context.Context, sched *scheduler.Scheduler, snapshot *internalcache.Snapshot, pod *v1.Pod) (string, error) {
	profile, known := sched.Profiles[pod.Spec.SchedulerName]
	if !known {
		return "", fmt.Errorf("no profile is named %q", pod.Spec.SchedulerName)
	}
	logger := klog.FromContext(ctx)
	if err := sched.Cache.UpdateSnapshot(logger, snapshot); err != nil {
		return "", err
	}
	info, err := framework.NewPodInfo(pod)
	if err != nil {
		return "", err
	}
	state := framework.NewCycleState()
	result, err := sched.SchedulePod(ctx, profile, state, &framework.QueuedPodInfo{PodInfo: info})
	if unfit := (&framework.FitError{}); errors.As(err, &unfit) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	assumed := pod.DeepCopy()
	assumed.Spec.NodeName = result.SuggestedHost
	if err := sched.Cache.AssumePod(logger, assumed); err != nil {
		return "", err
	}
	if status := profile.RunReservePluginsReserve(ctx, state, assumed, result.SuggestedHost); !status.IsSuccess() {
		return "", status.AsError()
	}
	return result.SuggestedHost, nil
}

// percentile is the smallest time, in microseconds, that so many per cent of the cycles did not exceed.
func percentile(sorted []time.Duration, percent int) float64 {
	rank := max((len(sorted)*percent+99)/100, 1)
	return float64(sorted[rank-1].Nanoseconds()) / 1e3
}
