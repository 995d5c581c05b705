"""What every loss is built from; it knows no paper."""

from torch.distributed import ProcessGroup as ProcessGroup

from segloss.core.inputs import Absent as Absent
from segloss.core.inputs import Activation as Activation
from segloss.core.inputs import ClassWeight as ClassWeight
from segloss.core.inputs import HardLabels as HardLabels
from segloss.core.inputs import Inputs as Inputs
from segloss.core.inputs import Labels as Labels
from segloss.core.inputs import Logits as Logits
from segloss.core.inputs import Mask as Mask
from segloss.core.inputs import Reduction as Reduction
from segloss.core.inputs import Value as Value
from segloss.core.inputs import can_look_at as can_look_at
from segloss.core.inputs import check_logits as check_logits
from segloss.core.inputs import check_reduction as check_reduction
from segloss.core.inputs import class_range as class_range
from segloss.core.inputs import class_weight as class_weight
from segloss.core.inputs import not_negative as not_negative
from segloss.core.inputs import one_of as one_of
from segloss.core.inputs import positive as positive
from segloss.core.inputs import prepare as prepare
from segloss.core.inputs import sum_dtype as sum_dtype
from segloss.core.masks import hard_masks as hard_masks
from segloss.core.masks import soft_masks as soft_masks
from segloss.core.overlap import Evidence as Evidence
from segloss.core.overlap import evidence as evidence
from segloss.core.piecewise import piecewise_linear as piecewise_linear
from segloss.core.reduce import mean_over_classes as mean_over_classes
from segloss.core.reduce import mean_where_defined as mean_where_defined
from segloss.core.reduce import over_classes as over_classes
from segloss.core.reduce import over_images as over_images
from segloss.core.reduce import power as power
from segloss.core.reduce import ratio as ratio
from segloss.core.sums import count as count
from segloss.core.sums import log_likelihood as log_likelihood
