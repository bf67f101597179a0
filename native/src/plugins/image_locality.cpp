// Nodes that have the pod's images score by their size, weighed by how many nodes have them. Kept by row; rows in the
// resource log are worked out again, all of them when the number of nodes has changed. Source: spec/scheduling.md 8.10.

#include <algorithm>
#include <span>

#include "volsched/go_math.hpp"
#include "volsched/plugin.hpp"
#include "volsched/scoring.hpp"

namespace volsched {

namespace {

constexpr std::int64_t kMebibyte = 1024 * 1024;
constexpr std::int64_t kBytesMin = 23 * kMebibyte;
constexpr std::int64_t kBytesMaxPerImage = 1000 * kMebibyte;

struct ImageCache final : PluginCache {
  std::uint64_t cursor = 0;
  std::uint64_t node_generation = 0;
  KeptColumn score;
};

class ImageLocality final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kImageLocality; }
  [[nodiscard]] std::string_view name() const override { return "ImageLocality"; }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask&) const override {
    const Cluster& cluster = cycle.cluster;
    ImageCache& cache = cycle.cache<ImageCache>(id());
    std::vector<ImageId> wanted;
    bool has_any = false;
    for (const StringId image : cycle.program.images) {
      wanted.push_back(cluster.images.find(image));
      has_any = has_any || (wanted.back().valid() && cluster.images.count(wanted.back()) > 0);
    }
    if (!has_any) {
      cache.node_generation = 0;  // what is kept falls behind: all of it is worked out when it is next wanted
      return {};
    }
    const bool is_current = cache.node_generation == cluster.node_generation();
    cache.node_generation = cluster.node_generation();
    cache.score.resize(cluster.rows());
    const auto refresh_if_current = [&](std::uint32_t row) {
      if (is_current) cache.score.set(row, score_of(cluster, wanted, NodeId(row)));
    };
    if (!cluster.resources.log().replay(cache.cursor, refresh_if_current) || !is_current) {
      cache.score.restart(cluster.rows());
      for (std::uint32_t row = 0; row < cluster.rows(); ++row)
        cache.score.write(row, score_of(cluster, wanted, NodeId(row)));
    }
    return ScoreColumn::kept_by(cache.score);
  }

 private:
  static std::int32_t score_of(const Cluster& cluster, std::span<const ImageId> wanted, NodeId row) {
    std::int64_t sum = 0;
    for (const ImageId image : wanted) {
      const ImageTable::Held* held = image.valid() ? cluster.images.held(row, image) : nullptr;
      if (held == nullptr) continue;
      const double spread = static_cast<double>(held->captured_count) / static_cast<double>(cluster.node_count());
      sum = wrapping_add(sum, go_int64(static_cast<double>(cluster.images.bytes(image)) * spread));
    }
    const std::int64_t most = kBytesMaxPerImage * static_cast<std::int64_t>(wanted.size());
    const std::int64_t bytes = std::clamp(sum, kBytesMin, most);
    return static_cast<std::int32_t>(100 * (bytes - kBytesMin) / (most - kBytesMin));
  }
};

}  // namespace

const Plugin& image_locality_plugin() {
  static const ImageLocality plugin;
  return plugin;
}

}  // namespace volsched
