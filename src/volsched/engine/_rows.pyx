# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled twin of `rows`: the same functions, the same bytes.

Walks objects with C buffers instead of Python byte arrays. What is rare is left to `rows` itself: migratable volumes, pods whose requests
need more than adding up (init containers, pod-level resources, overhead, amounts that are not whole), pods whose status counts.
Quantities are parsed once for each text and kept.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from volsched.api.quantity import parse as parse_quantity
from volsched.engine import rows
from volsched.rules.resources import is_scalar_resource

csi_driver_row = rows.csi_driver_row
class_row = rows.class_row
usage_row = rows.usage_row
namespace_row = rows.namespace_row
service_row = rows.service_row
controller_row = rows.controller_row

cdef dict _OPERATORS = dict(rows.OPERATORS)
cdef dict _EFFECTS = dict(rows.EFFECTS)
cdef dict _TOLERATIONS = dict(rows.TOLERATION_OPERATORS)
cdef int _UNKNOWN_OPERATOR = rows.UNKNOWN_OPERATOR
cdef int _OTHER_EFFECT = rows.OTHER_EFFECT
cdef int _ANY_EFFECT = rows.ANY_EFFECT
cdef int _OTHER_TOLERATION = rows.OTHER_TOLERATION
cdef str _BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
cdef str _BIND_COMPLETED = rows.ANN_BIND_COMPLETED
cdef str _SELECTED_NODE = rows.ANN_SELECTED_NODE
cdef str _MIGRATED_PLUGINS = rows.ANN_MIGRATED_PLUGINS

# Sums of this many times the greatest amount added up here stay within 64 bits.
cdef int64_t _AMOUNT_MAX = 1 << 50
cdef int _CONTAINERS_MAX = 4096
cdef int64_t _DEFAULT_CPU = 100
cdef int64_t _DEFAULT_MEMORY = 200 * 1024 * 1024


cdef class Amount:
    """A parsed quantity."""

    cdef bytes nanos
    cdef int64_t value
    cdef int64_t milli
    cdef bint is_whole  # a whole number that adds up without overflow
    cdef bint is_whole_milli


cdef dict _amounts = {}
cdef dict _is_scalar = {}
cdef Amount _ZERO


cdef Amount amount_of(text):
    cdef Amount made
    known = _amounts.get(text)
    if known is not None:
        return <Amount>known
    quantity = parse_quantity(text)
    nanos = quantity.nanos()
    made = Amount()
    made.nanos = nanos.to_bytes(16, "little", signed=True)
    made.value = quantity.value()
    made.milli = quantity.milli_value()
    made.is_whole = nanos % 1000000000 == 0 and made.value * 1000000000 == nanos and -_AMOUNT_MAX < made.value < _AMOUNT_MAX
    made.is_whole_milli = nanos % 1000000 == 0 and made.milli * 1000000 == nanos and -_AMOUNT_MAX < made.milli < _AMOUNT_MAX
    if len(_amounts) > 100000:
        _amounts.clear()
    _amounts[text] = made
    return made


_ZERO = amount_of("0")


cdef bint counts_as_scalar(str name):
    known = _is_scalar.get(name)
    if known is None:
        known = is_scalar_resource(name)
        _is_scalar[name] = known
    return known


cdef class Row:
    """A growing row."""

    cdef char* data
    cdef Py_ssize_t used
    cdef Py_ssize_t size

    def __cinit__(self):
        self.size = 512
        self.used = 0
        self.data = <char*>PyMem_Malloc(self.size)
        if self.data == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef int room(self, Py_ssize_t count) except -1:
        cdef char* moved
        cdef Py_ssize_t size = self.size
        if self.used + count <= size:
            return 0
        while size < self.used + count:
            size *= 2
        moved = <char*>PyMem_Realloc(self.data, size)
        if moved == NULL:
            raise MemoryError
        self.data = moved
        self.size = size
        return 0

    cdef int put(self, const void* source, Py_ssize_t count) except -1:
        self.room(count)
        memcpy(self.data + self.used, source, count)
        self.used += count
        return 0

    cdef int u8(self, uint8_t value) except -1:
        return self.put(&value, 1)

    cdef int u32(self, uint32_t value) except -1:
        return self.put(&value, 4)

    cdef int i64(self, int64_t value) except -1:
        return self.put(&value, 8)

    cdef int flag(self, value) except -1:
        return self.u8(1 if value else 0)

    cdef int raw(self, bytes value) except -1:
        return self.put(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))

    cdef int text(self, value) except -1:
        cdef Py_ssize_t length = 0
        cdef const char* chars
        if value is None:
            return self.u32(0)
        chars = PyUnicode_AsUTF8AndSize(value, &length)
        self.room(length + 4)
        self.u32(<uint32_t>length)
        return self.put(chars, length)

    cdef int texts(self, values) except -1:
        if values is None:
            return self.u32(0)
        self.u32(<uint32_t>len(values))
        for value in values:
            self.text(value)
        return 0

    cdef int labels(self, mapping) except -1:
        if mapping is None:
            return self.u32(0)
        self.u32(<uint32_t>len(mapping))
        for key, value in (<dict>mapping).items():
            self.text(key)
            self.text(value)
        return 0

    cdef bytes done(self):
        return PyBytes_FromStringAndSize(self.data, self.used)


# Selectors ------------------------------------------------------------------------------------------------------------------------------


cdef int put_requirements(Row to, items) except -1:
    if items is None:
        return to.u32(0)
    to.u32(<uint32_t>len(items))
    for item in items:
        to.text(item.key)
        to.u8(<uint8_t>_OPERATORS.get(item.operator, _UNKNOWN_OPERATOR))
        to.texts(item.values)
    return 0


cdef int put_optional_node_selector(Row to, selector) except -1:
    if selector is None:
        return to.u8(0)
    to.u8(1)
    terms = selector.nodeSelectorTerms
    if not terms:
        return to.u32(0)
    to.u32(<uint32_t>len(terms))
    for term in terms:
        put_requirements(to, term.matchExpressions)
        put_requirements(to, term.matchFields)
    return 0


cdef int put_label_selector(Row to, selector) except -1:
    if selector is None:
        return to.u8(0)
    to.u8(1)
    to.labels(selector.matchLabels)
    put_requirements(to, selector.matchExpressions)
    return 0


# Nodes ----------------------------------------------------------------------------------------------------------------------------------


def node_row(node):
    """A Node."""
    cdef Row to = Row()
    cdef Amount amount
    metadata, spec, status = node.metadata, node.spec, node.status
    to.text(metadata.name if metadata is not None else None)
    to.labels(metadata.labels if metadata is not None else None)
    to.flag(spec is not None and spec.unschedulable)
    taints = spec.taints if spec is not None else None
    if taints:
        to.u32(<uint32_t>len(taints))
        for taint in taints:
            to.text(taint.key)
            to.text(taint.value)
            to.u8(<uint8_t>_EFFECTS.get(taint.effect, _OTHER_EFFECT))
    else:
        to.u32(0)
    listed = (status.allocatable if status is not None else None) or {}
    cdef int64_t cpu = 0, memory = 0, ephemeral = 0, pods = 0
    scalars = None
    for name, text in (<dict>listed).items():
        amount = amount_of(text)
        if name == "cpu":
            cpu = amount.milli
        elif name == "memory":
            memory = amount.value
        elif name == "ephemeral-storage":
            ephemeral = amount.value
        elif name == "pods":
            pods = amount.value
        elif counts_as_scalar(name):
            if scalars is None:
                scalars = {}
            scalars[name] = amount.value
    to.i64(cpu)
    to.i64(memory)
    to.i64(ephemeral)
    to.i64(pods)
    put_scalars(to, scalars)
    images = status.images if status is not None else None
    if images:
        to.u32(<uint32_t>len(images))
        for image in images:
            to.texts(image.names)
            to.i64(image.sizeBytes or 0)
    else:
        to.u32(0)
    to.texts(status.declaredFeatures if status is not None else None)
    return to.done()


cdef int put_scalars(Row to, scalars) except -1:
    if scalars is None:
        return to.u32(0)
    to.u32(<uint32_t>len(scalars))
    for name in sorted(scalars):
        to.text(name)
        to.i64(scalars[name])
    return 0


def csi_node_row(csi_node):
    """A CSINode: drivers with their limits, and the in-tree plugins that the node has migrated."""
    cdef Row to = Row()
    metadata = csi_node.metadata
    to.text(metadata.name if metadata is not None else None)
    annotations = metadata.annotations if metadata is not None else None
    listed = annotations.get(_MIGRATED_PLUGINS) if annotations else None
    to.texts([plugin for plugin in listed.split(",") if plugin] if listed else None)
    drivers = csi_node.spec.drivers
    to.u32(<uint32_t>len(drivers) if drivers else 0)
    for driver in drivers or ():
        to.text(driver.name)
        allocatable = driver.allocatable
        count = allocatable.count if allocatable is not None else None
        to.flag(count is not None)
        to.i64(count or 0)
    return to.done()


def attachment_row(attachment):
    """A VolumeAttachment; one of an inline source names no volume."""
    cdef Row to = Row()
    spec = attachment.spec
    to.text(attachment.metadata.name if attachment.metadata is not None else None)
    to.text(spec.nodeName)
    to.text(spec.attacher)
    to.text(spec.source.persistentVolumeName if spec.source is not None else None)
    return to.done()


# Storage --------------------------------------------------------------------------------------------------------------------------------


cdef class_name_of(metadata, spec):
    annotations = metadata.annotations if metadata is not None else None
    if annotations and _BETA_CLASS in annotations:
        return annotations[_BETA_CLASS]
    return (spec.storageClassName if spec is not None else None) or ""


def volume_row(pv):
    """A PersistentVolume, with what it looks like to CSI when its source is migratable."""
    cdef Row to = Row()
    cdef Amount amount = _ZERO
    metadata, spec, status = pv.metadata, pv.spec, pv.status
    if spec is None or metadata is None or (spec.csi is None and rows.plugin_of_volume(pv) is not None):
        return rows.volume_row(pv)
    to.text(metadata.name)
    to.text(metadata.resourceVersion)
    to.text(class_name_of(metadata, spec))
    to.text(spec.storageClassName)
    capacity = spec.capacity
    text = capacity.get("storage") if capacity else None
    if text is not None:
        amount = amount_of(text)
    to.raw(amount.nanos)
    to.i64(amount.value)
    to.texts(spec.accessModes)
    to.text(spec.volumeMode or "Filesystem")
    to.text(spec.volumeAttributesClassName)
    reference = spec.claimRef
    if reference is None:
        to.u8(0)
    else:
        to.u8(1)
        to.text(reference.namespace)
        to.text(reference.name)
        to.text(reference.uid)
    to.text(status.phase if status is not None else None)
    to.flag(metadata.deletionTimestamp is not None)
    to.labels(metadata.labels)
    affinity = spec.nodeAffinity
    put_optional_node_selector(to, affinity.required if affinity is not None else None)
    if spec.csi is not None:
        to.u8(<uint8_t>rows.CSI_SOURCE)
        to.text(spec.csi.driver)
        to.text(spec.csi.volumeHandle)
    else:
        to.u8(<uint8_t>rows.OTHER_SOURCE)
    return to.done()


def claim_row(pvc):
    """A PersistentVolumeClaim."""
    cdef Row to = Row()
    cdef Amount amount = _ZERO
    metadata, spec, status = pvc.metadata, pvc.spec, pvc.status
    if metadata is None or spec is None:
        return rows.claim_row(pvc)
    annotations = metadata.annotations or {}
    to.text(metadata.namespace or "default")
    to.text(metadata.name)
    to.text(metadata.uid)
    to.text(metadata.resourceVersion)
    class_name = class_name_of(metadata, spec)
    to.text(class_name)
    spec_class = spec.storageClassName
    to.text(class_name if spec_class is None else spec_class)
    resources = spec.resources
    requests = resources.requests if resources is not None else None
    text = requests.get("storage") if requests else None
    if text is None and requests and "storage" in requests:
        return rows.claim_row(pvc)
    to.flag(text is not None)
    if text is not None:
        amount = amount_of(text)
    to.raw(amount.nanos)
    to.i64(amount.value)
    to.texts(spec.accessModes)
    to.text(spec.volumeMode or "Filesystem")
    to.text(spec.volumeAttributesClassName)
    put_label_selector(to, spec.selector)
    to.text(spec.volumeName)
    to.flag(_BIND_COMPLETED in annotations)
    to.flag(_SELECTED_NODE in annotations)
    to.text(annotations.get(_SELECTED_NODE))
    to.flag(status is not None and status.phase == "Lost")
    to.flag(metadata.deletionTimestamp is not None)
    controller = None
    for owner in metadata.ownerReferences or ():
        if owner.controller:
            controller = owner.uid
            break
    to.text(controller)
    return to.done()


def capacity_row(capacity):
    """A CSIStorageCapacity."""
    cdef Row to = Row()
    metadata = capacity.metadata
    to.text((metadata.namespace if metadata is not None else None) or "default")
    to.text(metadata.name if metadata is not None else None)
    to.text(capacity.storageClassName)
    put_label_selector(to, capacity.nodeTopology)
    for limit in (capacity.capacity, capacity.maximumVolumeSize):
        if limit is None:
            to.u8(0)
            to.i64(0)
        else:
            to.u8(1)
            to.i64(amount_of(limit).value)
    return to.done()


# Pods -----------------------------------------------------------------------------------------------------------------------------------


cdef int put_simple_usage(Row to, spec) except -1:
    """Usage and fit of a pod whose containers only have to be added up. 0: done; 1: it is not such a pod, nothing was written."""
    cdef int64_t cpu = 0, memory = 0, ephemeral = 0, scored_cpu = 0, scored_memory = 0
    cdef Amount amount
    cdef bint has_cpu, has_memory
    if spec.initContainers or spec.resources is not None or spec.overhead or len(spec.containers) > _CONTAINERS_MAX:
        return 1
    scalars = None
    for container in spec.containers:
        has_cpu = has_memory = False
        resources = container.resources
        requests = resources.requests if resources is not None else None
        if requests:
            for name, text in (<dict>requests).items():
                amount = amount_of(text)
                if name == "cpu":
                    if not amount.is_whole_milli:
                        return 1
                    has_cpu = True
                    cpu += amount.milli
                    scored_cpu += amount.milli
                    continue
                if not amount.is_whole:
                    return 1
                if name == "memory":
                    has_memory = True
                    memory += amount.value
                    scored_memory += amount.value
                elif name == "ephemeral-storage":
                    ephemeral += amount.value
                elif name != "pods" and counts_as_scalar(name):
                    if scalars is None:
                        scalars = {}
                    scalars[name] = scalars.get(name, 0) + amount.value
        if not has_cpu:
            scored_cpu += _DEFAULT_CPU
        if not has_memory:
            scored_memory += _DEFAULT_MEMORY
    to.i64(cpu)
    to.i64(memory)
    to.i64(ephemeral)
    to.i64(scored_cpu)
    to.i64(scored_memory)
    put_scalars(to, scalars)
    to.i64(scored_cpu)
    to.i64(scored_memory)
    return 0


cdef int put_ports(Row to, spec) except -1:
    cdef Py_ssize_t count_at = to.used
    cdef uint32_t count = 0
    to.u32(0)
    for containers, all_of_them in ((spec.containers, True), (spec.initContainers, False)):
        for container in containers or ():
            ports = container.ports
            if not ports or not (all_of_them or container.restartPolicy == "Always"):
                continue
            for port in ports:
                number = port.hostPort or 0
                if number <= 0:
                    continue
                to.text(port.protocol or "TCP")
                to.text(port.hostIP or rows.ANY_ADDRESS)
                to.u32(number)
                count += 1
    memcpy(to.data + count_at, &count, 4)
    return 0


cdef int put_affinity(Row to, pod, spec) except -1:
    affinity = spec.affinity
    if affinity is None or affinity.nodeAffinity is None:
        selector = spec.nodeSelector
        if selector is None:
            to.u8(0)
        else:
            to.u8(1)
            to.labels(selector)
        to.u8(0)
        to.u8(0)
        return to.u8(0)
    writer = rows.Writer()
    rows._affinity(writer, pod)
    return to.raw(writer.done())


def program_row(pod):
    """What pods of one template share: nothing of the pod's name, claims or status, and of its labels only what constraints name."""
    cdef Row to = Row()
    spec = pod.spec
    if spec is None:
        return rows.program_row(pod)
    tolerations = spec.tolerations
    if tolerations:
        to.u32(<uint32_t>len(tolerations))
        for item in tolerations:
            to.u8(<uint8_t>_TOLERATIONS.get(item.operator or "", _OTHER_TOLERATION))
            to.text(item.key)
            to.text(item.value)
            to.u8(<uint8_t>(_EFFECTS.get(item.effect, _OTHER_EFFECT) if item.effect else _ANY_EFFECT))
    else:
        to.u32(0)
    put_affinity(to, pod, spec)
    put_ports(to, spec)
    if put_simple_usage(to, spec) == 1:
        writer = rows.Writer()
        rows._requests(writer, pod)
        to.raw(writer.done())
    volumes = spec.volumes
    others = []
    images = [container.image or "" for container in spec.initContainers or ()]
    features_possible = bool(spec.hostNetwork)
    for container in spec.containers:
        images.append(container.image or "")
        if container.restartPolicyRules or container.volumeMounts:
            features_possible = True
    if spec.initContainers:
        features_possible = True
    if volumes:
        for volume in volumes:
            if volume.persistentVolumeClaim is not None or volume.ephemeral is not None:
                continue
            others.append(volume)
    for volume in others:
        if volume.image is not None:
            images.append(volume.image.reference or "")
    to.u32(<uint32_t>len(images))
    for name in images:
        to.text(name if (<str>name).rfind(":") > (<str>name).rfind("/") else (<str>name) + ":latest")
    to.texts(rows._implied_features(pod) if features_possible else None)
    if others:
        writer = rows.Writer()
        rows._inline_volumes(writer, others)
        rows._disks(writer, others)
        to.raw(writer.done())
    else:
        to.u32(0)
        to.u32(0)
    affinity = spec.affinity
    if spec.topologySpreadConstraints or (affinity is not None and (affinity.podAffinity is not None or affinity.podAntiAffinity is not None)):
        writer = rows.Writer()
        rows._spread(writer, pod)
        rows._pod_terms(writer, pod)
        to.raw(writer.done())
    else:
        for _ in range(5):
            to.u32(0)
    if spec.resources is not None:
        writer = rows.Writer()
        rows.put_fit_scalars(writer, pod)
        to.raw(writer.done())
    return to.done()


def instance_row(pod):
    """What is a pod's own."""
    cdef Row to = Row()
    cdef Py_ssize_t count_at
    cdef uint32_t count = 0
    metadata, spec = pod.metadata, pod.spec
    if metadata is None or spec is None:
        return rows.instance_row(pod)
    name = metadata.name or ""
    to.text(metadata.namespace or "default")
    to.text(name)
    to.text(metadata.uid)
    to.text(spec.nodeName)
    to.labels(metadata.labels)
    to.flag(metadata.deletionTimestamp is not None)
    to.i64(spec.priority or 0)
    owners = metadata.ownerReferences
    if owners:
        writer = rows.Writer()
        rows._owner(writer, owners)
        to.raw(writer.done())
    else:
        to.u8(0)
        to.u32(0)
    count_at = to.used
    to.u32(0)
    for volume in spec.volumes or ():
        source = volume.persistentVolumeClaim
        if source is not None:
            to.text(source.claimName)
            to.u8(0)
            count += 1
        elif volume.ephemeral is not None:
            to.text(f"{name}-{volume.name}")
            to.u8(1)
            count += 1
    memcpy(to.data + count_at, &count, 4)
    return to.done()
