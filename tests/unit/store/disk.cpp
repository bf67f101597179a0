// A disk that is watched, and that can be full: loaded into a process with LD_PRELOAD, it records in order everything the process does to
// the files of one directory, so that power.py can say what a power cut at any instant might have left of them.
//
//   DISK_ROOT     the directory; what lies elsewhere is let through
//   DISK_RECORD   where to record to, outside of it: one entry per operation
//   DISK_FULL     no file grows while this path exists: ENOSPC
//   DISK_FULL_AT  ... from the nth write on that makes a file grow, 1 being the first, whether the path exists or not
//
// An entry is `op path offset length\n` and then `length` bytes. Operations: create, write, truncate (offset is the new size), sync (of a
// file or a directory), unlink, say (bytes written to standard output: what the process acknowledges).
//
// Not recorded: the lock file, which has no content, and SQLite's shared memory (-shm), which no process trusts after a crash.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

namespace {

template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

using WriteFunction = ssize_t (*)(int, const void*, size_t);
using PwriteFunction = ssize_t (*)(int, const void*, size_t, off64_t);

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool ends_with(const std::string& text, const char* end) {
  const size_t size = std::strlen(end);
  return text.size() >= size && text.compare(text.size() - size, size, end) == 0;
}

// The path of a descriptor if it lies below the root, else empty.
std::string watched(int descriptor) {
  char target[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t size = readlink(link.c_str(), target, sizeof target);
  if (size <= 0) {
    return "";
  }
  const std::string path(target, static_cast<size_t>(size));
  static const std::string root = setting("DISK_ROOT");
  return !root.empty() && (path == root || path.rfind(root + "/", 0) == 0) ? path : "";
}

bool recorded(const std::string& path) { return !path.empty() && !ends_with(path, "-shm") && !ends_with(path, "-lock"); }

void record(const char* operation, const std::string& path, long long offset, const void* data, size_t size) {
  static std::mutex mutex;
  static const std::string file = setting("DISK_RECORD");
  if (file.empty()) {
    return;
  }
  static const int log = real<int (*)(const char*, int, ...)>("open")(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  static const auto put = real<WriteFunction>("write");
  std::string entry = std::string(operation) + " " + path + " " + std::to_string(offset) + " " + std::to_string(size) + "\n";
  entry.append(static_cast<const char*>(data), size);
  const std::lock_guard<std::mutex> guard(mutex);
  if (put(log, entry.data(), entry.size()) != static_cast<ssize_t>(entry.size())) {
    _exit(77);  // an incomplete record would prove nothing
  }
}

// Whether a write of `size` bytes at `offset` finds no room.
bool full(int descriptor, const std::string& path, long long offset, size_t size) {
  if (path.empty()) {
    return false;
  }
  struct stat64 status{};
  if (fstat64(descriptor, &status) != 0 || offset + static_cast<long long>(size) <= status.st_size) {
    return false;
  }
  static const std::string control = setting("DISK_FULL");
  static const long long at = std::atoll(setting("DISK_FULL_AT").c_str());
  static long long grown = 0;
  return (!control.empty() && access(control.c_str(), F_OK) == 0) || (at != 0 && ++grown >= at);
}

int opened(int directory, const char* path, int flags, mode_t mode) {
  static const auto call = real<int (*)(int, const char*, int, ...)>("openat");
  const bool fresh = (flags & O_CREAT) != 0 && faccessat(directory, path, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
  const int descriptor = call(directory, path, flags, mode);
  if (descriptor >= 0 && fresh) {
    const int error = errno;
    if (const std::string found = watched(descriptor); recorded(found)) {
      record("create", found, 0, nullptr, 0);
    }
    errno = error;
  }
  return descriptor;
}

ssize_t written(int descriptor, const void* data, size_t size, long long offset) {
  static const auto call = real<PwriteFunction>("pwrite64");
  const std::string path = watched(descriptor);
  if (full(descriptor, path, offset, size)) {
    errno = ENOSPC;
    return -1;
  }
  const ssize_t done = call(descriptor, data, size, offset);
  if (done > 0 && recorded(path)) {
    record("write", path, offset, data, static_cast<size_t>(done));
  }
  return done;
}

int truncated(int descriptor, off64_t size) {
  static const auto call = real<int (*)(int, off64_t)>("ftruncate64");
  const int result = call(descriptor, size);
  if (const std::string path = watched(descriptor); result == 0 && recorded(path)) {
    record("truncate", path, size, nullptr, 0);
  }
  return result;
}

int synced(int descriptor, const char* name) {
  const int result = real<int (*)(int)>(name)(descriptor);
  if (const std::string path = watched(descriptor); result == 0 && recorded(path)) {
    record("sync", path, 0, nullptr, 0);
  }
  return result;
}

mode_t mode_of(int flags, va_list rest) { return (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0; }

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_of(flags, rest);
  va_end(rest);
  return opened(AT_FDCWD, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_of(flags, rest);
  va_end(rest);
  return opened(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_of(flags, rest);
  va_end(rest);
  return opened(directory, path, flags, mode);
}

int openat64(int directory, const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = mode_of(flags, rest);
  va_end(rest);
  return opened(directory, path, flags, mode);
}

ssize_t write(int descriptor, const void* data, size_t size) {
  static const auto call = real<WriteFunction>("write");
  if (descriptor == STDOUT_FILENO) {
    record("say", "-", 0, data, size);
    return call(descriptor, data, size);
  }
  if (watched(descriptor).empty()) {
    return call(descriptor, data, size);
  }
  const off64_t position = lseek64(descriptor, 0, SEEK_CUR);
  const ssize_t done = written(descriptor, data, size, position);
  if (done > 0) {
    lseek64(descriptor, position + done, SEEK_SET);
  }
  return done;
}

ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) { return written(descriptor, data, size, offset); }
ssize_t pwrite64(int descriptor, const void* data, size_t size, off64_t offset) { return written(descriptor, data, size, offset); }
int ftruncate(int descriptor, off_t size) noexcept { return truncated(descriptor, size); }
int ftruncate64(int descriptor, off64_t size) noexcept { return truncated(descriptor, size); }
int fsync(int descriptor) { return synced(descriptor, "fsync"); }
int fdatasync(int descriptor) { return synced(descriptor, "fdatasync"); }

int unlink(const char* path) noexcept {
  static const auto call = real<int (*)(const char*)>("unlink");
  // the name as the kernel has it, through a descriptor
  const int descriptor = real<int (*)(const char*, int, ...)>("open")(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  const std::string found = descriptor < 0 ? "" : watched(descriptor);
  if (descriptor >= 0) {
    close(descriptor);
  }
  const int result = call(path);
  if (result == 0 && recorded(found)) {
    record("unlink", found, 0, nullptr, 0);
  }
  return result;
}

}  // extern "C"
