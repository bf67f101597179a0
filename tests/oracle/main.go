// The oracle asks kube-scheduler's own code what it decides.
//
//	cases, JSON lines ──objects──> informer stores and scheduler cache ──framework of the profile──> verdicts, JSON lines
//
// A case is {"id", "objects", "pod"} and may have "config", a KubeSchedulerConfiguration whose profile decides, and "percentage", of nodes
// to score when a node is chosen. Objects are as a user submits them; what the API server fills in is filled in here. A verdict has the
// fields of the project's recorded decisions and three more: "order", the nodes in the scheduler's own order; "choice", what the scheduler
// itself picks with one worker; "refused", why a configuration is none or an object cannot be read.
//
// Some answers of the scheduler follow the order of Go's maps. Every case is asked -asks times, each time of a scheduler made anew, and a
// case whose answers are not all equal gets only "varied"; the reasons of NodeResourcesFit come sorted, since nearly all pods that lack two
// extended resources would be such cases. Input that the scheduler dies on ends this process as it would the scheduler's; the asker starts
// another for the cases after it.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

// question is one line of input.
type question struct {
	ID         string            `json:"id"`
	Objects    []json.RawMessage `json:"objects"`
	Pod        json.RawMessage   `json:"pod"`
	Config     json.RawMessage   `json:"config"`
	Percentage *int32            `json:"percentage"`
}

// varied answers a case on which the scheduler is not of one mind.
type varied struct {
	ID     string `json:"id"`
	Varied bool   `json:"varied"`
}

func main() {
	asks := flag.Int("asks", 1, "how often every case is asked")
	flag.Parse()
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	metrics.Register()
	if err := answerAll(os.Stdin, os.Stdout, *asks); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

// answerAll answers line by line, each before the next is read.
func answerAll(in io.Reader, out io.Writer, asks int) error {
	lines := bufio.NewReaderSize(in, 1<<20)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			answer, err := answerLine(line, asks)
			if err != nil {
				return fmt.Errorf("line %d: %w", number, err)
			}
			if _, err := out.Write(append(answer, '\n')); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// answerLine gives the verdict that every ask comes to. An error means that the line is no case.
func answerLine(line []byte, asks int) ([]byte, error) {
	var asked question
	if err := json.Unmarshal(line, &asked); err != nil {
		return nil, err
	}
	described, err := read(&asked)
	if err != nil {
		return json.Marshal(verdict{ID: asked.ID, Refused: err.Error()})
	}
	var first []byte
	for range max(asks, 1) {
		answer, err := json.Marshal(described.decide())
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = answer
		} else if !bytes.Equal(first, answer) {
			return json.Marshal(varied{ID: asked.ID, Varied: true})
		}
	}
	return first, nil
}
