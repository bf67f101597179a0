// Nodes that have the pod's images score by their size, weighed by how many nodes have them. Worked out again only when
// some node's images or the number of nodes have changed. Source: spec/scheduling.md 8.10.

#include <algorithm>

#include "volsched/plugin.hpp"

namespace volsched {

namespace {

constexpr std::int64_t kMebibyte = 1024 * 1024;
constexpr std::int64_t kBytesMin = 23 * kMebibyte;
constexpr std::int64_t kBytesMaxPerImage = 1000 * kMebibyte;

struct ImageCache final : PluginCache {
  std::uint64_t version = 0;
  std::uint64_t node_generation = 0;
  std::vector<std::int32_t> score;  ///< by row
  bool has_any = false;
};

class ImageLocality final : public Plugin {
 public:
  [[nodiscard]] PluginId id() const override { return PluginId::kImageLocality; }
  [[nodiscard]] std::string_view name() const override { return "ImageLocality"; }
  [[nodiscard]] std::int32_t weight() const override { return 1; }

  [[nodiscard]] ScoreColumn score(Cycle& cycle, const NodeMask&) const override {
    const Cluster& cluster = cycle.cluster;
    ImageCache& cache = cycle.cache<ImageCache>(id());
    if (cache.version != cluster.images.version() || cache.node_generation != cluster.node_generation())
      refresh(cycle, cache);
    return cache.has_any ? ScoreColumn{cache.score.data(), 0} : ScoreColumn{};
  }

 private:
  static void refresh(Cycle& cycle, ImageCache& cache) {
    const Cluster& cluster = cycle.cluster;
    cache.version = cluster.images.version();
    cache.node_generation = cluster.node_generation();
    cache.has_any = false;
    std::vector<std::int64_t> sums;
    for (const StringId image : cycle.program.images) {
      const auto* copies = cluster.images.copies(image);
      if (copies == nullptr || copies->empty()) continue;
      if (sums.empty()) sums.assign(cluster.rows(), 0);
      const double spread = static_cast<double>(copies->size()) / static_cast<double>(cluster.node_count());
      for (const ImageTable::Copy& copy : *copies)
        sums[copy.row.index()] += static_cast<std::int64_t>(static_cast<double>(copy.bytes) * spread);
    }
    if (sums.empty()) return;
    cache.has_any = true;
    cache.score.resize(cluster.rows());
    const std::int64_t most = kBytesMaxPerImage * static_cast<std::int64_t>(cycle.program.images.size());
    for (std::size_t row = 0; row < sums.size(); ++row) {
      const std::int64_t bytes = std::clamp(sums[row], kBytesMin, most);
      cache.score[row] = static_cast<std::int32_t>(100 * (bytes - kBytesMin) / (most - kBytesMin));
    }
  }
};

}  // namespace

const Plugin& image_locality_plugin() {
  static const ImageLocality plugin;
  return plugin;
}

}  // namespace volsched
