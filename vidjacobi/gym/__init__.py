"""World models as environments of Gymnasium 1.x (``pip install gymnasium``)."""

from vidjacobi.errors import InvalidArgument

try:
    import gymnasium as gymnasium
except ImportError as error:
    raise InvalidArgument("environments need the package gymnasium: pip install gymnasium") from error

from vidjacobi.gym.env import WorldModelEnv as WorldModelEnv
from vidjacobi.gym.starts import Start as Start
from vidjacobi.gym.starts import starts_of as starts_of
from vidjacobi.gym.vector_env import WorldModelVectorEnv as WorldModelVectorEnv
